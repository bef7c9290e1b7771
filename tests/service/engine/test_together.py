"""Requests that share a turn: none of them moves the session of another."""

from concurrent.futures import Future
from contextlib import suppress
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.store.memory import MemoryStore
from dreamserve.validation import validated
from dreamserve_protocol.batches import DeleteBatchRequest, ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.branches import ForkRequest
from dreamserve_protocol.errors import (
    EngineFailedError,
    OverloadedError,
    ProblemError,
    SessionNotFoundError,
    StepConflictError,
)
from dreamserve_protocol.listing import AdminDeleteRequest, DeleteIdleRequest
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import SessionRequest, SnapshotRequest
from dreamserve_protocol.step import StepRequest

from .durable import RETENTION, Replica, outcome


def together(engine: Engine, *requests: Request[Any]) -> list[Any]:
    """Queue all requests, then run turns; return the results or errors in order."""
    futures: list[Future[Any]] = [
        engine.submit(validated(type(request), request)) for request in requests
    ]
    for _ in range(1000):
        engine.turn()
        if all(future.done() for future in futures):
            break
    return [future.exception(5) or future.result(5) for future in futures]


def wait_for(replica: Replica, future: "Future[Any]") -> None:
    """Run turns until the outcome is there."""
    with suppress(ProblemError):
        replica.finish(future)


ENDS: list[Request[Any]] = [
    DeleteBatchRequest(["a"]),
    DeleteIdleRequest(0.0),
    AdminDeleteRequest(session_ids=["a"], owner=""),
    AdminDeleteRequest(idle_s=0.0),
]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
def test_a_session_that_begins_as_another_ends_takes_no_step_of_it(
    end: Request[Any], order: tuple[int, ...]
) -> None:
    engine = Engine([fake_world()], capacity=4)
    together(engine, ResetRequest(session_id="a", seed=1))
    alone = Engine([fake_world()], capacity=4)
    (begun,) = together(alone, ResetRequest(session_id="b", seed=2))
    requests = [StepRequest("a", 1), end, ResetRequest(session_id="b", seed=2)]
    answers = together(engine, *(requests[i] for i in order))
    answered = dict(zip(order, answers, strict=True))
    stepped, new = answered[0], answered[2]
    assert getattr(stepped, "step", 1) == 1
    np.testing.assert_array_equal(new.latent, begun.latent)
    (described,) = together(engine, SessionRequest("b"))
    if getattr(described, "code", "") != "session_not_found":  # an end of all may come last
        assert described.step == 0


def test_a_batch_does_not_take_a_step_between_another_steps_check_and_its_computation() -> None:
    engine = Engine([fake_world()], capacity=4)
    together(engine, ResetRequest(session_id="a", seed=1))
    step, batch = together(
        engine, StepRequest("a", 1, step=1), StepBatchRequest(["a"], np.array([0]), steps=[1])
    )
    assert step.step == 1
    assert [error.code for error in batch.errors] == [StepConflictError.code]
    assert together(engine, SessionRequest("a"))[0].step == 1


def test_a_batch_of_resets_does_not_replace_a_session_before_its_step() -> None:
    engine = Engine([fake_world()], capacity=4)
    together(engine, ResetRequest(session_id="a", seed=1))
    step, _ = together(engine, StepRequest("a", 1), ResetBatchRequest(session_ids=["a"], seeds=[5]))
    assert step.step == 1
    (described,) = together(engine, SessionRequest("a"))
    assert (described.step, described.seed) == (0, 5)


def test_forks_and_resets_of_one_turn_happen_in_the_order_of_arrival() -> None:
    engine = Engine([fake_world()], capacity=4)
    together(engine, ResetRequest(session_id="a", seed=1))
    fork, reset = ForkRequest("a", session_ids=["b"]), ResetRequest(session_id="b", seed=9)
    together(engine, fork, reset)
    assert together(engine, SessionRequest("b"))[0].seed == 9
    together(engine, reset, fork)
    assert together(engine, SessionRequest("b"))[0].seed == 1


@pytest.mark.parametrize("used", [StepRequest("a", 1), ForkRequest("a", session_ids=["f"])])
def test_stored_sessions_that_are_used_and_end_in_one_turn_do_not_stop_the_engine(
    used: Request[Any],
) -> None:
    replica = Replica(MemoryStore(RETENTION), capacity=4)
    replica.send(ResetRequest(session_id="a", seed=1))
    requests = [used, DeleteBatchRequest(["a"]), ResetRequest(session_id="b", seed=2)]
    futures = [replica.submit(request) for request in requests]
    for future in futures:
        wait_for(replica, future)
    assert replica.send(SessionRequest("b")).step == 0
    assert replica.send(StepRequest("b", 1)).step == 1
    if isinstance(used, ForkRequest):  # its origin's end may count as earlier: then there is none
        made = outcome(replica.send, SessionRequest("f")) is not SessionNotFoundError
        assert made == (futures[0].exception() is None)


def test_a_change_that_cannot_be_recorded_fails_its_own_turn_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replica = Replica(MemoryStore(RETENTION), capacity=4)
    replica.send(ResetRequest(session_id="a", seed=1))
    with monkeypatch.context() as broken:
        broken.setattr("dreamserve.engine.durability.gate.packed", lambda slab, slots: 1 / 0)
        with pytest.raises(EngineFailedError):
            replica.send(StepRequest("a", 1))
    assert replica.send(StepRequest("a", 1)).step == 2


def test_an_engine_whose_turn_fails_says_that_it_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine([fake_world()], capacity=4)
    engine.start()
    monkeypatch.setattr(engine._executor, "arrive", lambda: 1 / 0)
    future = engine.submit(ResetRequest(session_id="a"))
    assert future.exception(5) is not None
    engine._runner._thread.join(5)
    assert engine.has_failed
    assert not engine.ready


def test_forks_that_find_no_room_for_their_windows_change_nothing() -> None:
    world = fake_world()
    engine = Engine([world], capacity=8)
    (step,) = {slab.kept_step_bytes for slab in engine.table.numbered.values()}
    engine = Engine([world], capacity=8, max_kept_bytes=14 * step)
    together(
        engine,
        ResetRequest(session_id="o", seed=1, rewind_window=4),
        ResetRequest(session_id="d", seed=2, rewind_window=8),
        ResetRequest(session_id="secret", seed=3),
    )
    for _ in range(2):
        together(engine, StepRequest("secret", 1), StepRequest("d", 1))
    together(engine, DeleteBatchRequest(["secret"]))
    (before,) = together(engine, SnapshotRequest("d"))
    (refused,) = together(engine, ForkRequest("o", session_ids=["n", "m", "d"]))
    assert isinstance(refused, OverloadedError)
    absent, (after,) = (
        together(engine, SessionRequest("n"))[0],
        together(engine, SessionRequest("d")),
    )
    assert absent.code == "session_not_found"
    assert (after.step, after.rewindable_to) == (2, 0)
    (same,) = together(engine, SnapshotRequest("d"))
    np.testing.assert_array_equal(same.latent, before.latent)
    # there is room for these, though not beside the window that "d" gives up
    (made,) = together(engine, ForkRequest("o", session_ids=["n", "d"]))
    assert made.session_ids == ["n", "d"]
    assert {one.seed for one in together(engine, SessionRequest("n"), SessionRequest("d"))} == {1}


def test_rows_that_find_no_room_are_refused_without_another_search_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine([fake_world()], capacity=2)
    searches = []
    whole = engine.table.expire_idle
    monkeypatch.setattr(engine.table, "expire_idle", lambda: searches.append(whole()))
    together(engine, ResetRequest(session_id="a", seed=1))
    ids = ["b", *(f"n{i}" for i in range(40)), "a"]
    (result,) = together(engine, ResetBatchRequest(session_ids=ids, seeds=[7] * 42))
    assert [error.row for error in result.errors] == list(range(1, 41))
    assert len(searches) == 1
    assert together(engine, SessionRequest("a"))[0].seed == 7, "it has its place"
