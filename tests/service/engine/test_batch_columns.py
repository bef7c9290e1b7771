"""What batches include, and what they observe: the same as single requests, row by row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.fake import KINDS
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.limits import Limits
from dreamserve.engine.world import World
from dreamserve_protocol.batches import (
    DeleteBatchRequest,
    ResetBatchRequest,
    StepBatchRequest,
)
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.errors import TooLargeError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest

Ask = Callable[[Engine, Request], Any]
Same = Callable[[Any, Any], bool]
IDS = [f"s{i}" for i in range(5)]
ALL = ["frame", "state"]
PIXELS = np.random.default_rng(1).integers(0, 255, (5, 8, 8, 3)).astype(np.uint8)


def two_engines(ask: Ask, world: World) -> tuple[Engine, Engine]:
    """Return two engines with the same dreams."""
    engines = Engine([world]), Engine([world], max_batch=2)
    for engine in engines:
        for seed, session_id in enumerate(IDS):
            ask(engine, ResetRequest(session_id=session_id, seed=seed))
    return engines


def actions_for(world: World) -> np.ndarray:
    space = world.spec.action_space
    return space.uniform(np.random.default_rng(0).random((5, *space.shape), np.float32))


def test_resets_of_a_batch_include_what_single_ones_include(any_world: World, ask: Ask) -> None:
    one, many = Engine([any_world]), Engine([any_world], max_batch=2)
    seeds = list(range(5))
    batch = ask(many, ResetBatchRequest(session_ids=IDS, seeds=seeds, include=ALL))
    for i, session_id in enumerate(IDS):
        single = ask(one, ResetRequest(session_id=session_id, seed=i, include=ALL))
        np.testing.assert_array_equal(batch.latents[i], single.latent)
        np.testing.assert_array_equal(batch.frames[i], single.frame)
        assert batch.state.keys() == single.state.keys()
        for name, part in single.state.items():
            np.testing.assert_array_equal(batch.state[name][i], part)


@pytest.mark.parametrize("observed", [None, "latents", "frames"])
def test_steps_of_a_batch_show_what_single_ones_show(
    any_world: World, ask: Ask, same: Same, observed: str | None
) -> None:
    one, many = two_engines(ask, any_world)
    spec, actions = any_world.spec, actions_for(any_world)
    generator = np.random.default_rng(0)
    observations: Any = {
        None: None,
        "latents": generator.normal(0, 1, (5, spec.latent_size)).astype(np.float32),
        "frames": generator.integers(0, 255, (5, *spec.observation.source_shape)).astype(np.uint8),
    }[observed]
    request = StepBatchRequest(IDS, actions, steps=[1] * 5, observations=observations, include=ALL)
    batch = ask(many, request)
    for i, session_id in enumerate(IDS):
        observation = None if observations is None else observations[i]
        single = ask(one, StepRequest(session_id, actions[i], observation=observation, include=ALL))
        np.testing.assert_array_equal(batch.latents[i], single.latent)
        np.testing.assert_array_equal(batch.frames[i], single.frame)
        for name, part in single.state.items():
            np.testing.assert_array_equal(batch.state[name][i], part)
        assert (batch.rewards[i], batch.terminated[i]) == (single.reward, single.terminated)
        for name, value in single.info.items():
            assert getattr(batch, name)[i] == np.float32(value)
    assert (batch.surprise is None) == (observed is None)
    assert same(ask(many, request), batch), "sent again, it is answered the same"


def test_an_observed_row_is_sent_again_only_with_the_same_observation(ask: Ask) -> None:
    engine, _ = two_engines(ask, fake_world())
    first = StepBatchRequest(IDS, [1] * 5, steps=[1] * 5, observations=PIXELS)
    ask(engine, first)
    changed = PIXELS.copy()
    changed[3] += 1
    again = ask(engine, StepBatchRequest(IDS, [1] * 5, steps=[1] * 5, observations=changed))
    assert [(error.row, error.code) for error in again.errors] == [(3, "step_conflict")]
    plain = ask(engine, StepBatchRequest(IDS, [1] * 5, steps=[1] * 5))
    assert {error.code for error in plain.errors} == {"step_conflict"}
    single = ask(engine, StepRequest("s0", 1, step=1, observation=PIXELS[0]))
    assert single.step == 1, "the step of a batch may be sent again as a single one"


@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38, -1.1e6])
def test_a_bad_observation_is_its_rows_error(ask: Ask, number: float) -> None:
    engine, _ = two_engines(ask, fake_world())
    latents = np.zeros((5, 4), np.float32)
    latents[2, 1] = number
    batch = ask(engine, StepBatchRequest(IDS, [1] * 5, observations=latents))
    assert [(error.row, error.code) for error in batch.errors] == [(2, "not_finite")]
    assert batch.steps.tolist() == [1, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (np.zeros((5, 9, 9, 3), np.uint8), "a frame must be"),
        (np.zeros((5, 3), np.float32), "observation must be numbers of shape"),
    ],
)
def test_an_observation_of_another_shape_is_refused(
    ask: Ask, observations: Any, message: str
) -> None:
    engine, _ = two_engines(ask, fake_world())
    batch = ask(engine, StepBatchRequest(IDS, [1] * 5, observations=observations))
    assert len(batch.errors) == 5
    assert all(message in error.detail for error in batch.errors)
    assert not batch.steps.any()


@pytest.mark.parametrize("on_end", ["stay", "restart"])
@pytest.mark.parametrize("observations", [None, np.zeros((5, 4), np.float32)])
def test_a_session_of_a_batch_with_all_columns_can_be_restored(
    ask: Ask, same: Same, on_end: Any, observations: Any
) -> None:
    engine = Engine([fake_world()])
    ask(engine, ResetBatchRequest(session_ids=IDS, seeds=[1] * 5, max_steps=1))
    step = {"steps": [1] * 5, "observations": observations, "include": ALL, "on_end": on_end}
    first = ask(engine, StepBatchRequest(IDS, [1] * 5, **step))
    for session_id in IDS:
        snapshot = ask(engine, SnapshotRequest(session_id))
        ask(engine, DeleteRequest(session_id))
        ask(engine, RestoreRequest(session_id, snapshot))
    assert same(ask(engine, StepBatchRequest(IDS, [1] * 5, **step)), first)


@pytest.mark.parametrize("observations", [None, np.full((5, 4), 0.5, np.float32)])
@pytest.mark.parametrize("on_end", ["stay", "restart"])
@pytest.mark.parametrize("max_steps", [1, None])
def test_a_batch_sent_again_has_the_same_signals(
    ask: Ask, same: Same, on_end: Any, observations: Any, max_steps: int | None
) -> None:
    engine = Engine([fake_world(**KINDS["signals"])])
    ask(engine, ResetBatchRequest(session_ids=IDS, seeds=list(range(5)), max_steps=max_steps))
    step = {"steps": [1] * 5, "observations": observations, "on_end": on_end}
    request = StepBatchRequest(IDS, [0, 1, 2, 0, 1], include=[*ALL, "signals"], **step)
    first = ask(engine, request)
    assert all(column.all() for column in first.signals.values())
    assert same(ask(engine, request), first)


@pytest.mark.parametrize("way", ["fork", "rewind", "snapshot"])
def test_a_copied_session_answers_with_the_signals_of_its_step(ask: Ask, way: str) -> None:
    engine = Engine([fake_world(**KINDS["signals"])])
    ask(engine, ResetBatchRequest(session_ids=IDS, seeds=list(range(5)), rewind_window=2))
    first = ask(engine, StepBatchRequest(IDS, [1] * 5, include=["signals"]))
    for session_id in IDS:
        if way == "fork":
            ask(engine, ForkRequest("s0", session_ids=["copy"]))
            break
        if way == "snapshot":
            snapshot = ask(engine, SnapshotRequest(session_id))
            ask(engine, ResetRequest(session_id=session_id, seed=9))
            ask(engine, RestoreRequest(session_id, snapshot))
        else:
            ask(engine, StepRequest(session_id, 2))
            ask(engine, RewindRequest(session_id, steps=1))
    ids = ["copy"] if way == "fork" else IDS
    again = ask(
        engine, StepBatchRequest(ids, [1] * len(ids), steps=[1] * len(ids), include=["signals"])
    )
    assert not again.errors
    for name, column in again.signals.items():
        np.testing.assert_array_equal(column, first.signals[name][: len(ids)])


def test_a_batch_sent_again_may_ask_for_signals_that_it_did_not_include(ask: Ask) -> None:
    one, other = two_engines(ask, fake_world(**KINDS["signals"]))
    request = StepBatchRequest(IDS, [1] * 5, steps=[1] * 5, include=["signals"])
    first = ask(one, request)
    ask(other, StepBatchRequest(IDS, [1] * 5, steps=[1] * 5))
    again = ask(other, request)
    for name, column in first.signals.items():
        np.testing.assert_array_equal(again.signals[name], column)


def test_frames_of_a_batch_are_bounded(ask: Ask) -> None:
    engine = Engine([fake_world()], limits=Limits(frames=4))
    with pytest.raises(TooLargeError, match="5 frames, the limit is 4"):
        ask(engine, ResetBatchRequest(session_ids=IDS, include=["frame"]))
    ask(engine, ResetBatchRequest(session_ids=IDS))
    for more in ({"include": ["frame"]}, {"observations": PIXELS}):
        with pytest.raises(TooLargeError, match="5 frames, the limit is 4"):
            ask(engine, StepBatchRequest(IDS, [1] * 5, **more))
    assert ask(engine, SessionRequest("s0")).step == 0


def test_many_sessions_end_at_once(ask: Ask) -> None:
    engine, _ = two_engines(ask, fake_world())
    result = ask(engine, DeleteBatchRequest(["s0", "nobody", "s1", "s0", "bad id!"]))
    assert [(error.row, error.code) for error in result.errors] == [
        (1, "session_not_found"),
        (3, "invalid_request"),
        (4, "session_not_found"),
    ]
    assert engine.session_count == 3
    with pytest.raises(TooLargeError):
        ask(Engine([fake_world()], limits=Limits(rows=1)), DeleteBatchRequest(["a", "b"]))
