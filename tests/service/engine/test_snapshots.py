"""Snapshots restore the same dream, bit for bit, also after JSON, msgpack and JavaScript."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dreamserve.api import codec
from dreamserve.backends.fake import SPACES
from dreamserve.engine.fake import fake_world
from dreamserve.local import LocalClient
from dreamserve.validation import validated
from dreamserve_protocol.common import LARGEST_LATENT, Start
from dreamserve_protocol.errors import (
    OverloadedError,
    StepConflictError,
)
from dreamserve_protocol.sessions import Snapshot

Same = Callable[[Any, Any], bool]
OverWire = Callable[[Snapshot, str], Snapshot]
SEEN = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
ACTIONS = [
    ("Discrete", 1),
    ("Box", [0.25, 0.1]),
    ("Box with odd bounds", [-2.0, 0.1, 1e9]),
    ("MultiDiscrete", [0, 1, 4, 0]),
    ("MultiBinary", [0, 1, 1]),
]
EVERYTHING = ["frame", "mixture", "state"]
EXTRAS = [
    {"observation": SEEN},
    {"observation": np.zeros(4, np.float32)},
    {"observation": SEEN, "include": EVERYTHING},
    {"include": ["mixture"]},
    {"include": ["state"]},
]


def test_a_restored_session_continues_in_another_engine(
    dream: LocalClient, over_wire: OverWire, same: Same
) -> None:
    snapshot = over_wire(dream.snapshot("a"), "json")
    elsewhere = LocalClient(fake_world())
    info = elsewhere.restore("z", snapshot)
    assert (info.session_id, info.step, info.rewindable_to) == ("z", 3, 3)
    again = elsewhere.step(session_id="z", action=1, step=3)
    assert again.latent.tobytes() == dream.step(session_id="a", action=1, step=3).latent.tobytes()
    for action in (0, 1, 0):
        answers = (d.step(session_id=n, action=action) for d, n in ((dream, "a"), (elsewhere, "z")))
        assert same(*(replace(answer, session_id="") for answer in answers))


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize(("space", "action"), ACTIONS)
def test_a_repeated_last_step_has_the_same_result_after_a_restore(
    extra: dict[str, Any],
    form: str,
    space: str,
    action: Any,
    over_wire: OverWire,
    same: Same,
) -> None:
    origin, copy = (LocalClient(fake_world(space=SPACES[space])) for _ in range(2))
    origin.reset(session_id="a", seed=4)
    answer = origin.step(session_id="a", action=action, **extra)
    copy.restore("a", over_wire(origin.snapshot("a"), form))
    assert same(copy.step(session_id="a", action=action, step=1, **extra), answer)
    with pytest.raises(StepConflictError, match="step 1 was already taken"):
        copy.step(session_id="a", action=action, step=1)
    assert copy.snapshot("a").digest == origin.snapshot("a").digest
    after = (dream.step(session_id="a", action=action) for dream in (origin, copy))
    assert same(*after)


def test_every_float32_survives_json_bit_for_bit(over_wire: OverWire) -> None:
    world = fake_world()
    bits = np.random.default_rng(5).integers(0, 2**32, 400_000, np.uint64).astype(np.uint32)
    numbers = bits.view(np.float32)
    numbers = np.concatenate([[0.0, -0.0, 1e-45, 3.4028235e38], numbers[np.isfinite(numbers)]])
    numbers = numbers[: len(numbers) // 4 * 4].astype(np.float32).reshape(-1, 4)
    sent = codec.encode({"latent": numbers}, as_msgpack=False)
    back = np.array(codec.decode(sent, as_msgpack=False)["latent"]).astype(np.float32)
    assert back.tobytes() == numbers.tobytes()
    dream = LocalClient(world)
    latents = numbers[(np.abs(numbers) <= LARGEST_LATENT).all(axis=1)]
    for latent in latents[:50]:
        dream.reset(session_id="a", seed=1, start=Start(latent=latent))
        dream.restore("b", over_wire(dream.snapshot("a"), "json"))
        assert dream.snapshot("b").latent.tobytes() == latent.tobytes()


def test_a_snapshot_before_the_first_step_has_nothing_of_the_slots_last_session(
    dream: LocalClient, same: Same
) -> None:
    dream.delete("a")
    dream.reset(session_id="b", seed=1)  # reuses the slot of "a"
    fresh = LocalClient(fake_world())
    fresh.reset(session_id="b", seed=1)
    snapshot = dream.snapshot("b")
    assert (snapshot.action, snapshot.reward, snapshot.last_step) == (None, 0.0, None)
    assert same(snapshot, fresh.snapshot("b"))


def test_a_full_server_restores_only_into_an_existing_session(dream: LocalClient) -> None:
    for name in "bcd":
        dream.reset(session_id=name)
    with pytest.raises(OverloadedError):
        dream.restore("e", dream.snapshot("a"))
    assert dream.restore("d", dream.snapshot("a")).step == 3


def test_a_snapshot_in_json_has_its_format_and_world_and_no_absent_fields(
    dream: LocalClient,
) -> None:
    fields = json.loads(codec.encode(dream.snapshot("a"), as_msgpack=False))
    values = [fields[name] for name in ("format", "format_version", "world", "step")]
    assert values == ["dreamserve-snapshot", 1, "fake", 3]
    assert fields.keys().isdisjoint({"last_step", "world_version"})


def through_javascript(value: Any) -> Any:
    """Return parsed JSON as JavaScript rewrites it: 1.0 becomes 1, and -0.0 becomes 0."""
    if isinstance(value, dict):
        return {name: through_javascript(part) for name, part in value.items()}
    if isinstance(value, list):
        return [through_javascript(part) for part in value]
    return int(value) if type(value) is float and value.is_integer() else value


@pytest.mark.parametrize("extra", [{}, *EXTRAS, {"observation": np.float32([-0.0, 1, 0, -1])}])
@pytest.mark.parametrize(("space", "action"), [*ACTIONS, ("Box", [1.0, -0.0])])
def test_a_snapshot_rewritten_by_javascript_is_accepted(
    extra: dict[str, Any], space: str, action: Any, same: Same
) -> None:
    origin, copy = (LocalClient(fake_world(space=SPACES[space])) for _ in range(2))
    latent = np.array([-0.0, 1.0, 0.0, -0.5], np.float32)
    origin.reset(session_id="a", seed=4, start=Start(latent=latent))
    for step in range(2):
        snapshot = origin.snapshot("a")
        sent = json.loads(codec.encode(snapshot, as_msgpack=False))
        copy.restore("a", validated(Snapshot, through_javascript(sent)))
        assert copy.snapshot("a").digest == snapshot.digest
        if not step:
            assert np.signbit(snapshot.latent[0])
            assert not np.signbit(copy.snapshot("a").latent[0])
            answer = origin.step(session_id="a", action=action, **extra)
    for dream in (origin, copy):  # the last step may be repeated with either zero
        assert same(dream.step(session_id="a", action=action, step=1, **extra), answer)
    assert same(*(d.step(session_id="a", action=action) for d in (origin, copy)))
