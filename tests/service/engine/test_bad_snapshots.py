"""Snapshots and latents that are damaged, edited or unusable are refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.fake import KINDS
from dreamserve.engine.fake import fake_world
from dreamserve.engine.sessions.snapshots import digest_of
from dreamserve.local import LocalClient
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    SessionNotFoundError,
    SnapshotRefusedError,
    WorldNotFoundError,
)
from dreamserve_protocol.plan import Objective
from dreamserve_protocol.sessions import LastStep, Snapshot


def last_step(**changed: Any) -> LastStep:
    """Return the last step of a session that observed a frame, with changed fields."""
    info = {"surprise": 1.0, "expected_surprise": 1.0, "predicted_terminated": False}
    info["end_probability"] = 0.5
    fields = {"include": [], "info": info, "observed": "frame", "frame_digest": "0" * 32}
    return LastStep(**(fields | changed))


BAD_LAST_STEPS = [
    ({"include": ["colour"]}, r"last_step.include.0: .*'frame', 'vector', 'mixture'"),
    ({"observed": "dream"}, "last_step.observed: .*'frame', 'vector' or 'latent'"),
    ({"observed": None, "frame_digest": None, "info": {}}, "must be absent"),
    ({"observed": "latent"}, "frame_digest must be present if"),
    ({"frame_digest": None}, "frame_digest must be present if"),
    ({"frame_digest": "0"}, "must be 32 hex digits"),
    ({"info": {}}, "info must hold"),
    ({"include": ["frame"]}, "frame must be present if"),
    ({"include": ["mixture"]}, "mixture must be present if"),
    (
        {"include": ["frame"], "frame": np.zeros((8, 8, 3))},
        "last_step.frame: must be .* dtype float",
    ),
    (
        {"include": ["frame"], "frame": np.zeros((8, 9, 3), np.uint8)},
        "frame must be .8, 8, 3. of 0 to 255",
    ),
    ({"include": ["mixture"], "mixture": {}}, "mixture must hold"),
    (
        {"include": ["mixture"], "mixture": dict.fromkeys(("weights", "mu", "sigma"), 1.0)},
        "mixture.weights must be numbers of shape",
    ),
]


@pytest.mark.parametrize(("changed", "message"), BAD_LAST_STEPS)
def test_an_inconsistent_last_step_is_refused(
    dream: LocalClient, changed: dict[str, Any], message: str
) -> None:
    snapshot = replace(dream.snapshot("a"), last_step=last_step(**changed))
    with pytest.raises(InvalidRequestError, match=message):
        dream.restore("a", snapshot)


def edited(**fields: Any) -> Callable[[Snapshot], Snapshot]:
    return lambda snapshot: replace(snapshot, **fields)


def forged(**fields: Any) -> Callable[[Snapshot], Snapshot]:
    """Return an edit of a snapshot that also updates its digest."""

    def forge(snapshot: Snapshot) -> Snapshot:
        changed = replace(snapshot, **fields)
        return replace(changed, digest=digest_of(changed))

    return forge


BAD_SNAPSHOTS = [
    (
        edited(format="other"),
        SnapshotRefusedError,
        "reads dreamserve-snapshot 1, not other",
    ),
    (edited(format_version=2), SnapshotRefusedError, "not dreamserve-snapshot 2"),
    (edited(world="elsewhere"), WorldNotFoundError, "no world 'elsewhere'"),
    (edited(world_version="0123456789abcdef"), SnapshotRefusedError, "loaded here is fake None"),
    (edited(step=4), SnapshotRefusedError, "damaged or was edited"),
    (edited(seed=5), SnapshotRefusedError, "damaged or was edited"),
    (edited(latent=np.zeros(4, np.float32)), SnapshotRefusedError, "damaged"),
    (edited(digest="0"), SnapshotRefusedError, "damaged"),
    (
        lambda snapshot: replace(snapshot, state={n: t + 1 for n, t in snapshot.state.items()}),
        SnapshotRefusedError,
        "damaged",
    ),
    (edited(latent=np.zeros(3, np.float32)), InvalidRequestError, r"latent .* of shape \[4\]"),
    (edited(latent=np.full(4, np.nan)), NotFiniteInputError, "latent: element .0. is not a finite"),
    (edited(state={}), InvalidRequestError, "state must hold"),
    (edited(action=7), InvalidActionError, "not in Discrete"),
    (edited(rewind_window=9), SnapshotRefusedError, "damaged"),
    (forged(step=-1), InvalidRequestError, "snapshot.step: .*greater than or equal to 0"),
    (forged(step=0), InvalidRequestError, "before its first step a session has no action"),
    (forged(step=0, action=[1.0, 2.0], reward=0.0), InvalidRequestError, "has no action"),
    (forged(action=[1.0, 2.0]), InvalidActionError, "integers of Discrete"),
    (forged(action=None), InvalidActionError, "integers of Discrete"),
    (forged(step=2**53 - 1), InvalidRequestError, "step must be at most 4503599627370496"),
    (forged(step=2**52 + 1), InvalidRequestError, "step must be at most 4503599627370496"),
    (forged(reward=1e300), InvalidRequestError, "reward is beyond float32"),
    (forged(temperature=-1.0), InvalidRequestError, "temperature: .*greater than or equal to 0"),
    (forged(seed=-1), InvalidRequestError, "seed: .*greater than or equal to 0"),
    (forged(rewind_window=-1), InvalidRequestError, "rewind_window: .*greater than or equal to 0"),
]


def test_a_restored_session_may_be_at_the_largest_step_and_goes_on(dream: LocalClient) -> None:
    dream.restore("new", forged(step=2**52)(dream.snapshot("a")))
    assert dream.step("new", 1).step == 2**52 + 1


@pytest.mark.parametrize(("edit", "error", "message"), BAD_SNAPSHOTS)
def test_a_damaged_snapshot_is_refused_and_changes_nothing(
    dream: LocalClient, edit: Callable[[Snapshot], Snapshot], error: type[Exception], message: str
) -> None:
    snapshot, before = edit(dream.snapshot("a")), dream.snapshot("a").digest
    for name in ("a", "new"):
        with pytest.raises(error, match=message):
            dream.restore(name, snapshot)
    assert dream.snapshot("a").digest == before
    with pytest.raises(SessionNotFoundError):
        dream.session("new")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"signals": None}, InvalidRequestError, "signals must hold .'value', 'uncertainty'., not"),
        ({"signals": {"value": 1.0}}, InvalidRequestError, "signals must hold"),
        ({"signals": {"value": 1e300, "uncertainty": 0.0}}, NotFiniteInputError, "signals.value"),
        ({"signals": {"value": 0.1, "uncertainty": 0.0}}, SnapshotRefusedError, "does not match"),
        ({"step": 0, "action": None, "reward": 0.0}, InvalidRequestError, "before its first step"),
    ],
)
def test_signals_that_no_session_can_have_are_refused(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    dream = LocalClient(fake_world(**KINDS["signals"]))
    dream.reset(session_id="a", seed=4)
    dream.step("a", 1)
    dream.restore("a", dream.snapshot("a"))
    with pytest.raises(error, match=message):
        dream.restore("a", forged(**fields)(dream.snapshot("a")))


@pytest.mark.parametrize("number", [1.1e6, -1.1e6, np.inf, np.nan])
def test_an_unusable_latent_is_refused_by_every_verb(dream: LocalClient, number: float) -> None:
    latent = np.array([0, number, 0, 0], np.float32)
    before = dream.snapshot("a")
    requests: list[Callable[[], Any]] = [
        lambda: dream.reset(session_id="a", start=Start(latent=latent)),
        lambda: dream.step("a", 1, observation=latent),
        lambda: dream.sample(start=Start(latent=latent), futures=1, horizon=1),
        lambda: dream.rollout(policy="random", start=Start(latent=latent), episodes=1, max_steps=1),
        lambda: dream.plan("a", objective=Objective(target=latent)),
    ]
    for request in requests:
        with pytest.raises(NotFiniteInputError, match=r"element \[1\] is not a finite") as error:
            request()
        assert error.value.code == "not_finite"
    assert dream.snapshot("a").digest == before.digest
    largest = np.array(
        [0, np.copysign(1e6, number) if np.isfinite(number) else 1e6, 0, 0], np.float32
    )
    assert (
        dream.reset(session_id="a", start=Start(latent=largest)).latent.tobytes()
        == largest.tobytes()
    )


@pytest.mark.parametrize("fields", [{"reward": 0.1}, {"temperature": 0.1}])
def test_a_number_that_no_session_can_store_is_refused(dream: LocalClient, fields: Any) -> None:
    dream.step("a", 1)
    with pytest.raises(SnapshotRefusedError, match="digest does not match"):
        dream.restore("a", forged(**fields)(dream.snapshot("a")))
