"""What a replica refuses stays as it is with the replica that has it; only an end needs no room."""

from typing import Any

import pytest

from dreamserve.engine.durability import lookups
from dreamserve.engine.durability.stalls import Stalls
from dreamserve.engine.fake import fake_world
from dreamserve.engine.limits import Quota
from dreamserve.store.memory import MemoryStore
from dreamserve_protocol.batches import DeleteBatchRequest, ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.errors import (
    DrainingError,
    OverloadedError,
    SessionLostError,
    SessionNotFoundError,
    StoreUnavailableError,
)
from dreamserve_protocol.listing import AdminDeleteRequest
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest

from .durable import RETENTION, FailingStore, Replica


@pytest.fixture
def shared() -> FailingStore:
    return FailingStore(MemoryStore(RETENTION))


@pytest.fixture
def owner(shared: FailingStore) -> Replica:
    """Return a server with sessions a and b after two steps, which it can take back."""
    owner = Replica(shared)
    for session_id in "ab":
        owner.send(ResetRequest(session_id=session_id, seed=1, rewind_window=8))
        for step in (1, 2):
            owner.send(StepRequest(session_id, 1, step=step))
    return owner


@pytest.fixture
def full(shared: FailingStore, owner: Replica) -> Replica:
    """Return a server of the same sessions that is full with another one."""
    full = Replica(shared, capacity=1, timeout_s=0.0, session_ttl_s=100.0)
    full.send(ResetRequest(session_id="mine", seed=1))
    return full


@pytest.mark.parametrize(
    "request_",
    [
        SessionRequest("a"),
        SnapshotRequest("a"),
        StepRequest("a", 1, step=3),
        RewindRequest("a", 1),
        PlanRequest("a", horizon=2),
        ForkRequest("a", session_ids=["c"]),
        ForkRequest("mine", session_ids=["a"]),
        ResetRequest(session_id="a", seed=2),
    ],
)
def test_a_full_server_refuses_a_session_and_takes_nothing_from_it(full, owner, request_):
    with pytest.raises(OverloadedError, match="1 of 1 sessions are in use") as refused:
        full.send(request_)
    assert refused.value.retry_after_s == pytest.approx(60.0, abs=30.0)
    assert owner.send(SessionRequest("a")).rewindable_to == 0
    assert owner.send(RewindRequest("a", 1)).step == 1


def test_a_full_server_refuses_to_restore_a_session_that_lives_elsewhere(full, owner):
    with pytest.raises(OverloadedError):
        full.send(RestoreRequest("a", owner.send(SnapshotRequest("a"))))
    assert owner.send(SessionRequest("a")).rewindable_to == 0


def test_rows_without_room_are_refused_alone_and_stay_where_they_are(shared, owner):
    other = Replica(shared, capacity=1)
    result = other.send(StepBatchRequest(["a", "b"], [1, 1], steps=[3, 3]))
    assert [(error.row, error.code) for error in result.errors] == [(1, "overloaded")]
    assert result.steps.tolist() == [3, 0]
    assert owner.send(SessionRequest("b")).rewindable_to == 0
    begun = other.send(ResetBatchRequest(session_ids=["a", "b"], seeds=[1, 2]))
    assert [(error.row, error.code) for error in begun.errors] == [(1, "overloaded")]
    assert owner.send(SessionRequest("b")).rewindable_to == 0


def test_a_session_whose_rewind_window_finds_no_room_stays_where_it_is(shared, owner):
    small = Replica(shared, max_kept_bytes=1)
    with pytest.raises(OverloadedError, match="request a shorter rewind_window"):
        small.send(StepRequest("a", 1, step=3))
    assert owner.send(SessionRequest("a")).rewindable_to == 0


def test_a_session_over_the_quota_stays_where_it_is(shared):
    first, second = Replica(shared), Replica(shared)
    ask = lambda replica, request: replica.finish(replica.engine.submit(request, "ann"))  # noqa: E731 - short
    ask(first, ResetRequest(session_id="a", rewind_window=3))
    second.engine.quotas = {"ann": Quota(sessions=1)}
    ask(second, ResetRequest(session_id="b"))
    ask(first, StepRequest("a", 1, step=1))
    with pytest.raises(OverloadedError, match="of your quota"):
        ask(second, SessionRequest("a"))
    assert ask(first, SessionRequest("a")).rewindable_to == 0


def test_a_session_of_a_world_that_is_not_loaded_stays_where_it_is(shared, owner):
    other = Replica(shared, fake_world("other"))
    for request in (SessionRequest("a"), StepRequest("a", 1)):
        with pytest.raises(SessionLostError):
            other.send(request)
    assert owner.send(SessionRequest("a")).rewindable_to == 0
    assert other.send(ResetRequest(session_id="a", seed=3)).step == 0  # replaces it
    with pytest.raises(SessionLostError):
        owner.send(SessionRequest("a"))


def test_sessions_that_are_taken_over_together_fill_no_more_than_the_room(shared, owner):
    other = Replica(shared, capacity=2)
    other.send(ResetRequest(session_id="mine", seed=1))
    futures = [other.submit(SessionRequest(one)) for one in "ab"]
    new = other.submit(ResetRequest(seed=1))  # while the others are looked up
    outcomes = []
    for future in [*futures, new]:
        try:
            outcomes.append(other.finish(future).step)
        except OverloadedError:
            outcomes.append("full")
    assert outcomes.count("full") == 2
    kept = [owner.send(SessionRequest(one)).rewindable_to for one in "ab"]
    assert kept == [2 if outcome == 2 else 0 for outcome in outcomes[:2]]
    assert not other.engine.table.reserved


def test_room_is_free_again_when_a_takeover_fails(shared, owner):
    other = Replica(shared, capacity=1, timeout_s=0.0)
    shared.failures = ["none", "before"]  # it is read, but not taken over
    with pytest.raises(StoreUnavailableError):
        other.send(SessionRequest("a"))
    assert not other.engine.table.reserved
    assert other.send(ResetRequest(session_id="new", seed=1)).step == 0


@pytest.mark.parametrize(
    "request_",
    [DeleteRequest("a"), DeleteBatchRequest(["a"]), AdminDeleteRequest("ann", ["a"])],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_full_server_ends_a_session_that_lives_elsewhere(shared, request_, strict):
    first = Replica(shared)
    by_ann = isinstance(request_, AdminDeleteRequest)
    asks = "ann" if by_ann else ""
    first.finish(first.engine.submit(ResetRequest(session_id="a"), asks))
    full = Replica(shared, capacity=1, strict=strict)
    full.send(ResetRequest(session_id="mine", seed=1))
    outcome: Any = full.send(request_)
    if by_ann:
        assert outcome.deleted == 1
    assert not getattr(outcome, "errors", None)
    full.engine.stop()
    with pytest.raises(SessionNotFoundError):
        first.finish(first.engine.submit(SessionRequest("a"), asks))


def test_an_administrator_does_not_end_a_session_elsewhere_that_is_in_use(shared):
    first, second = Replica(shared), Replica(shared)
    first.finish(first.engine.submit(ResetRequest(session_id="a"), "ann"))
    assert second.send(AdminDeleteRequest("ann", ["a"], idle_s=60.0)).deleted == 0
    assert first.finish(first.engine.submit(SessionRequest("a"), "ann")).step == 0


def test_a_session_is_ended_once_and_may_be_begun_again(full, owner):
    full.send(DeleteRequest("a"))
    with pytest.raises(SessionNotFoundError):
        full.send(DeleteRequest("a"))
    full.send(DeleteRequest("mine"))
    assert full.send(ResetRequest(session_id="a", seed=5)).step == 0


def test_a_session_may_be_ended_and_used_at_once_on_a_full_server(full, owner):
    using, ending = full.submit(StepBatchRequest(["a"], [1])), full.submit(DeleteRequest("a"))
    assert [error.code for error in full.finish(using).errors] == ["overloaded"]
    full.finish(ending)
    with pytest.raises(SessionNotFoundError):
        owner.send(SessionRequest("a"))


def test_an_end_that_the_store_does_not_confirm_is_no_end(full, owner, shared):
    shared.failures = ["none", "none", "before"]  # read, taken over, not ended
    with pytest.raises(StoreUnavailableError):
        full.send(DeleteRequest("a"))
    assert owner.send(SessionRequest("a")).step == 2
    shared.failures = ["none", "none", "before"]
    with pytest.raises(StoreUnavailableError):
        full.send(DeleteBatchRequest(["a"]))
    assert owner.send(SessionRequest("a")).step == 2


def test_an_administrator_is_told_of_each_session_that_was_not_ended_once(shared):
    first, second = Replica(shared), Replica(shared)
    for session_id in "abc":
        first.finish(first.engine.submit(ResetRequest(session_id=session_id), "ann"))
    second.finish(second.engine.submit(StepRequest("b", 1), "ann"))
    assert first.send(AdminDeleteRequest("ann", ["a", "b", "c"])).deleted == 2


def test_a_batch_of_many_sessions_that_live_elsewhere_is_taken_over_in_several_turns(
    shared: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "ARRIVALS_AT_ONCE", 2)
    first, second = Replica(shared), Replica(shared)
    first.send(ResetBatchRequest(session_ids=list("abcde"), seeds=list(range(5))))
    result = second.send(StepBatchRequest(list("abcde"), [1] * 5))
    assert (result.errors, result.steps.tolist()) == ([], [1] * 5)


def test_steps_keep_their_order_when_one_arrives_while_another_is_about_to_run_again(
    shared: FailingStore, owner: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    Replica(shared).send(SessionRequest("a"))  # takes it over: the owner's copy is outdated
    requeue, second = owner.engine.requeue, []

    def arrive_first(requests: Any) -> None:  # after the first step's commit was refused
        if not second:
            second.append(owner.submit(StepRequest("a", 0)))
            owner.engine.turn()  # finds the outdated copy, and waits for the store
        requeue(requests)

    monkeypatch.setattr(owner.engine, "requeue", arrive_first)
    first = owner.finish(owner.submit(StepRequest("a", 1)))
    assert (first.step, owner.finish(second[0]).step) == (3, 4)


def test_a_draining_server_begins_sessions_that_others_continue(shared: FailingStore) -> None:
    draining, other = Replica(shared, stalls=Stalls()), Replica(shared)
    draining.engine.drain()
    assert draining.engine.draining
    draining.send(ResetRequest(session_id="a", seed=1))
    draining.send(StepRequest("a", 1, step=1))
    draining.engine.stop()
    assert other.send(StepRequest("a", 1, step=2)).step == 2


def test_a_draining_server_with_a_store_of_its_own_begins_none(shared: FailingStore) -> None:
    draining = Replica(shared)
    draining.engine.drain()
    with pytest.raises(DrainingError):
        draining.send(ResetRequest(session_id="a", seed=1))
