"""on_end: restart. A dream that ends is replaced at once, and no step is lost or taken twice."""

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamserve.api.codec import encode
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.sessions.restarts import next_seeds
from dreamserve.engine.world import World
from dreamserve.validation import validated
from dreamserve_protocol.batches import ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.errors import InvalidRequestError, SnapshotRefusedError, StepConflictError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import RestoreRequest, SessionRequest, SnapshotRequest
from dreamserve_protocol.step import StepRequest

Ask = Callable[[Engine, Request], Any]
Same = Callable[[Any, Any], bool]
IDS = ["a", "b", "c"]
ALL = ["frame", "state"]


def begun(ask: Ask, world: World, limits: tuple[int | None, ...] = (2, 3, None)) -> Engine:
    """Return an engine with dreams of these limits."""
    engine = Engine([world], max_batch=2)
    for seed, (session_id, limit) in enumerate(zip(IDS, limits, strict=True)):
        ask(engine, ResetRequest(session_id=session_id, seed=seed, max_steps=limit))
    return engine


def restarting(world: World, steps: Any = None, **fields: Any) -> StepBatchRequest:
    space = world.spec.action_space
    actions = space.uniform(np.full((3, *space.shape), 0.5, np.float32))
    return StepBatchRequest(IDS, actions, steps=steps, on_end="restart", **fields)


def test_a_restarted_dream_is_the_one_of_a_reset_with_its_seed(any_world: World, ask: Ask) -> None:
    engine, alone = begun(ask, any_world), Engine([any_world])
    ask(engine, restarting(any_world))
    batch = ask(engine, restarting(any_world, include=ALL))
    first_ended = batch.final.rows.tolist()[0]
    assert first_ended == 0
    seed = int(batch.final.seeds[0])
    assert seed == int(next_seeds(np.array([0], np.uint64))[0])
    reset = ask(alone, ResetRequest(session_id="x", seed=seed, include=ALL))
    np.testing.assert_array_equal(batch.latents[0], reset.latent)
    np.testing.assert_array_equal(batch.frames[0], reset.frame)
    for name, part in reset.state.items():
        np.testing.assert_array_equal(batch.state[name][0], part)
    action = restarting(any_world).actions[0]
    again = ask(engine, StepRequest("a", action, include=ALL))
    fresh = ask(alone, StepRequest("x", action, include=ALL))
    np.testing.assert_array_equal(again.latent, fresh.latent)
    assert (again.step, fresh.step) == (3, 1), "the session counts on"


def test_the_end_of_the_old_dream_is_told(any_world: World, ask: Ask) -> None:
    engine, stays = begun(ask, any_world, (1, 1, None)), begun(ask, any_world, (1, 1, None))
    batch = ask(engine, restarting(any_world, include=ALL))
    expected = ask(stays, StepBatchRequest(IDS, restarting(any_world).actions, include=ALL))
    assert {0, 1} <= set(batch.final.rows.tolist())
    for k, i in enumerate(batch.final.rows.tolist()):
        np.testing.assert_array_equal(batch.final.latents[k], expected.latents[i])
        np.testing.assert_array_equal(batch.final.frames[k], expected.frames[i])
        for name, column in expected.state.items():
            np.testing.assert_array_equal(batch.final.state[name][k], column[i])
    for name in ("steps", "rewards", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(expected, name))


def test_a_batch_in_which_nothing_ends_has_no_final(ask: Ask) -> None:
    world = fake_world()
    assert ask(begun(ask, world), restarting(world)).final is None


def test_a_restarting_batch_sent_again_is_answered_the_same(
    any_world: World, ask: Ask, same: Same
) -> None:
    engine = begun(ask, any_world, (1, 2, None))
    request = restarting(any_world, steps=[1, 1, 1], include=ALL)
    first = ask(engine, request)
    assert 0 in first.final.rows
    assert same(ask(engine, request), first)
    assert ask(engine, SessionRequest("a")).began_at == 1


def test_a_step_that_restarted_is_not_the_same_as_one_that_would_not(ask: Ask) -> None:
    world = fake_world()
    engine = begun(ask, world, (1, 1, None))
    ask(engine, restarting(world, steps=[1, 1, 1]))
    stay = ask(engine, StepBatchRequest(IDS, [1, 1, 1], steps=[1, 1, 1]))
    assert [(error.row, error.code) for error in stay.errors] == [
        (0, "step_conflict"),
        (1, "step_conflict"),
    ]
    with pytest.raises(StepConflictError, match="other content"):
        ask(engine, StepRequest("a", 1, step=1))
    other = begun(ask, world, (1, 1, None))
    ask(other, StepBatchRequest(IDS, [1, 1, 1], steps=[1, 1, 1]))
    restart = ask(other, restarting(world, steps=[1, 1, 1]))
    assert [error.code for error in restart.errors] == ["step_conflict", "step_conflict"]
    further = ask(other, restarting(world, steps=[2, 2, 2]))
    assert [error.code for error in further.errors] == ["dream_ended", "dream_ended"]


def test_an_observed_step_restarts_only_at_the_limit(ask: Ask, same: Same) -> None:
    world = fake_world()
    engine = begun(ask, world, (1, 2, None))
    request = restarting(world, steps=[1, 1, 1], observations=np.ones((3, 4), np.float32))
    first = ask(engine, request)
    assert first.final.rows.tolist() == [0]
    np.testing.assert_array_equal(first.final.latents[0], np.ones(4))
    assert np.isfinite(first.surprise).all()
    assert same(ask(engine, request), first)


def test_a_rewind_goes_back_into_the_dream_before(ask: Ask) -> None:
    engine = Engine([fake_world()])
    ask(engine, ResetBatchRequest(session_ids=["a"], seeds=[1], rewind_window=5, max_steps=2))
    step = StepBatchRequest(["a"], [1], on_end="restart")
    first, second, third = (ask(engine, step) for _ in range(3))
    back = ask(engine, RewindRequest("a", to_step=1))
    assert (back.step, back.seed) == (1, 1)
    np.testing.assert_array_equal(back.latent, first.latents[0])
    again = ask(engine, step)
    np.testing.assert_array_equal(again.final.latents, second.final.latents)
    np.testing.assert_array_equal(ask(engine, step).latents, third.latents)


@pytest.mark.parametrize("way", ["snapshot", "fork"])
def test_a_copied_session_answers_the_step_that_restarted_it(
    ask: Ask, same: Same, way: str
) -> None:
    world = fake_world()
    engine = begun(ask, world, (1, 1, None))
    request = StepBatchRequest(["a"], [1], steps=[1], on_end="restart", include=["state"])
    first = ask(engine, request)
    if way == "fork":
        ask(engine, ForkRequest("a", session_ids=["copy"]))
    else:
        ask(engine, RestoreRequest("copy", ask(engine, SnapshotRequest("a"))))
    again = ask(
        engine, StepBatchRequest(["copy"], [1], steps=[1], on_end="restart", include=["state"])
    )
    for name in ("latents", "state", "final", "truncated", "rewards"):
        assert same(getattr(again, name), getattr(first, name))
    one, copy = (ask(engine, StepBatchRequest([name], [1])) for name in ("a", "copy"))
    np.testing.assert_array_equal(one.latents, copy.latents)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop("last_step"),
        lambda fields: fields.pop("began_at"),
        lambda fields: fields.update(began_at=5),
        lambda fields: fields["last_step"]["final"].update(terminated=False, truncated=False),
        lambda fields: fields["last_step"]["final"].update(latent=[0.0]),
        lambda fields: fields["last_step"]["final"].update(state={}),
        lambda fields: fields["last_step"]["final"].update(latent=[0.0, 0.0, 0.0, 1.0]),
        lambda fields: fields.update(max_steps=7),
    ],
)
def test_an_edited_snapshot_of_a_restarted_session_is_refused(ask: Ask, change: Any) -> None:
    engine = begun(ask, fake_world(), (1, 1, None))
    ask(engine, StepBatchRequest(["a"], [1], on_end="restart"))
    fields = orjson.loads(encode(ask(engine, SnapshotRequest("a")), as_msgpack=False))
    validated(RestoreRequest, {"session_id": "b", "snapshot": fields})
    change(fields)
    with pytest.raises((InvalidRequestError, SnapshotRefusedError)):
        ask(engine, RestoreRequest("b", fields))


@settings(max_examples=60, deadline=None)
@given(
    lost=st.lists(st.sampled_from(["kept", "request lost", "response lost"]), max_size=25),
    limits=st.tuples(*[st.integers(1, 4)] * 3),
)
def test_a_client_that_sends_again_sees_every_step_once(
    ask: Ask, same: Same, lost: list[str], limits: tuple[int, int, int]
) -> None:
    world = fake_world()
    quiet, noisy = begun(ask, world, limits), begun(ask, world, limits)
    for number, fate in enumerate(lost, 1):
        request = restarting(world, steps=[number] * 3, include=["state"])
        expected = ask(quiet, request)
        if fate == "response lost":
            ask(noisy, request)
        assert same(ask(noisy, request), expected)
    for session_id in IDS:
        states = [ask(engine, SessionRequest(session_id)) for engine in (quiet, noisy)]
        assert same(*states)
