"""Rewinds, and the steps that sessions keep for them."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamserve.backends.fake import fake_spec
from dreamserve.engine.fake import fake_world
from dreamserve.engine.sessions.sizes import kept_step_bytes
from dreamserve.local import LocalClient
from dreamserve_protocol.errors import (
    DreamNotFiniteError,
    InvalidRequestError,
    OverloadedError,
    SessionNotFoundError,
    StepConflictError,
)

Same = Callable[[Any, Any], bool]
STEP_BYTES = kept_step_bytes(fake_spec())


def test_steps_after_a_rewind_repeat_exactly(dream: LocalClient, same: Same) -> None:
    before = dream.step(session_id="a", action=0, observation=np.zeros(4, np.float32))
    after = dream.step(session_id="a", action=1)
    back = dream.rewind(session_id="a", steps=1)
    assert (back.step, back.rewindable_to, back.terminated) == (4, 0, False)
    fields = {"session_id": "a", "action": 0, "observation": np.zeros(4, np.float32)}
    assert same(dream.step(**fields, step=4), before)
    assert same(dream.step(session_id="a", action=1, step=5), after)


def test_a_rewind_in_a_box_world_restores_the_last_action(same: Same) -> None:
    dream = LocalClient(fake_world(discrete=False))
    dream.reset(session_id="a", seed=4, rewind_window=2)
    first = dream.step(session_id="a", action=[0.25, 0.1])
    dream.step(session_id="a", action=[-0.5, 0.4])
    dream.rewind(session_id="a", to_step=1)
    assert same(dream.step(session_id="a", action=[0.25, 0.1], step=1), first)


def test_a_step_that_failed_with_nan_is_not_rewindable() -> None:
    dream = LocalClient(fake_world(nan_action=2))
    start = dream.reset(session_id="a", seed=4, rewind_window=3)
    dream.step(session_id="a", action=1)
    with pytest.raises(DreamNotFiniteError):
        dream.step(session_id="a", action=2)
    dream.step(session_id="a", action=0)
    back = dream.rewind(session_id="a", steps=2)
    assert (back.step, back.latent.tobytes()) == (0, start.latent.tobytes())
    assert dream.session("a").step == 0


def test_an_ended_dream_can_be_rewound(dream: LocalClient) -> None:
    while not dream.step(session_id="a", action=2).terminated:
        pass
    dream.rewind(session_id="a", steps=1)
    assert not dream.session("a").terminated
    dream.step(session_id="a", action=0)


BAD_REWINDS = [
    ({}, InvalidRequestError, "exactly one of steps and to_step"),
    ({"steps": 1, "to_step": 1}, InvalidRequestError, "exactly one of steps and to_step"),
    ({"steps": -1}, InvalidRequestError, "steps: .*greater than or equal to 0"),
    ({"to_step": 7}, StepConflictError, "at step 6, and cannot go back to step 7"),
    ({"to_step": 0}, StepConflictError, "the window goes back to step 1, not to step 0"),
]


@pytest.mark.parametrize(("fields", "error", "message"), BAD_REWINDS)
def test_a_refused_rewind_changes_nothing(
    dream: LocalClient, fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    for _ in range(3):
        dream.step(session_id="a", action=1)
    before = dream.snapshot("a")
    with pytest.raises(error, match=message):
        dream.rewind(session_id="a", **fields)
    assert dream.snapshot("a").digest == before.digest


def test_the_error_without_a_window_explains_how_to_request_one(dream: LocalClient) -> None:
    dream.reset(session_id="b")
    dream.step(session_id="b", action=0)
    with pytest.raises(StepConflictError, match="a reset with a rewind_window does"):
        dream.rewind(session_id="b", steps=1)
    dream.reset(session_id="a")  # a reset drops the window of the old dream
    dream.step(session_id="a", action=0)
    with pytest.raises(StepConflictError, match="rewind_window"):
        dream.rewind(session_id="a", steps=1)


def test_a_sessions_kept_steps_are_freed_with_it(clock: Any) -> None:
    dream = LocalClient(fake_world(), session_ttl_s=10, clock=clock)
    windows = dream.engine._contexts[""].sessions.slab_of(dream.world).windows
    for name in ("expired", "deleted", "reset", "forked-into"):
        dream.reset(session_id=name, seed=1, rewind_window=2)
        dream.step(session_id=name, action=1)
    assert (len(windows), windows.reserved) == (4, 8)
    assert {len(windows.get(slot) or ()) for slot in range(4)} == {1}
    clock.now_s = 9
    dream.reset(session_id="plain", seed=1)
    dream.delete("deleted")
    dream.reset(session_id="reset", seed=1)
    dream.fork(session_id="plain", session_ids=["forked-into"])
    assert len(windows) == 1
    clock.now_s = 12
    dream.reset(session_id="other")
    assert not windows


def test_the_kept_steps_of_all_sessions_are_bounded(clock: Any) -> None:
    dream = LocalClient(fake_world(), max_kept_bytes=10 * STEP_BYTES, session_ttl_s=10, clock=clock)
    dream.reset(session_id="a", rewind_window=6)
    with pytest.raises(OverloadedError, match=f"for rewinding, and {6 * STEP_BYTES} are"):
        dream.reset(session_id="b", rewind_window=5)
    assert "b" not in dream.engine._contexts[""].sessions
    dream.reset(session_id="b")
    dream.reset(session_id="a", rewind_window=10)  # its own window is freed first
    with pytest.raises(OverloadedError, match=f"and {10 * STEP_BYTES} are in use"):
        dream.fork(session_id="a", session_ids=["b", "c"])
    assert dream.session("b").step == 0
    with pytest.raises(OverloadedError, match="request a shorter rewind_window"):
        dream.restore(session_id="c", snapshot=dream.snapshot(session_id="a"))
    batch = dream.reset_batch(session_ids=list("ade"), rewind_window=4)
    assert [(error.row, error.code) for error in batch.errors] == [(2, "overloaded")]
    clock.now_s = 20  # expired sessions keep no steps
    dream.reset(session_id="f", rewind_window=10)


def test_forks_beyond_the_bound_of_kept_steps_are_refused_together() -> None:
    dream = LocalClient(fake_world(), max_kept_bytes=10 * STEP_BYTES)
    dream.reset(session_id="a", rewind_window=5)
    with pytest.raises(
        OverloadedError, match=f"keep {10 * STEP_BYTES} bytes .* and {5 * STEP_BYTES} are"
    ):
        dream.fork(session_id="a", session_ids=["b", "c"])  # one of them would fit
    assert dream.engine.session_count == 1
    assert dream.fork(session_id="a", session_ids=["b"]).session_ids == ["b"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4)), max_size=30))
def test_kept_steps_are_counted_through_resets_and_deletions(
    history: list[tuple[str, int]],
) -> None:
    dream = LocalClient(fake_world(), max_kept_bytes=7 * STEP_BYTES, capacity=3)
    sessions = dream.engine._contexts[""].sessions
    windows: dict[str, int] = {}
    for name, window in history:
        with suppress(OverloadedError, SessionNotFoundError):
            if window == 0 and name in windows:
                dream.delete(name)
                del windows[name]
            else:
                dream.reset(session_id=name, rewind_window=window)
                windows[name] = window
        assert sessions.slab_of(dream.world).windows.reserved == sum(windows.values()) <= 7


def test_a_window_takes_no_more_memory_than_it_is_counted_for() -> None:
    dream = LocalClient(fake_world(), max_kept_bytes=(kept := 200 * STEP_BYTES))
    dream.reset(session_id="a", seed=1, rewind_window=200)
    tracemalloc.start()
    for _ in range(300):
        dream.step(
            session_id="a",
            action=1,
            observation=np.zeros(4, np.float32),
            include=["frame", "mixture", "state"],
        )
    took, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert dream.engine.usage.kept_bytes == kept
    assert took < kept
