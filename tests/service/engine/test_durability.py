"""Sessions in a store continue on any replica, and no step is answered that is not stored."""

import concurrent.futures

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamserve.backends.fake import KINDS
from dreamserve.engine.fake import fake_world
from dreamserve.engine.limits import Limits
from dreamserve.engine.simple import SimpleEngine
from dreamserve.store.base import Change, Retention
from dreamserve.store.memory import MemoryStore
from dreamserve_protocol.batches import (
    DeleteBatchRequest,
    ResetBatchRequest,
    StepBatchRequest,
)
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.errors import (
    OverloadedError,
    SessionExpiredError,
    SessionLostError,
    SessionNotFoundError,
    StepConflictError,
    StoreUnavailableError,
    TooLargeError,
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

from .durable import RETENTION, FailingStore, Replica, outcome, requests_about


@settings(max_examples=40, deadline=None)
@given(
    history=st.lists(st.tuples(st.integers(0, 2), requests_about("abc")), min_size=1, max_size=12),
    failures=st.lists(st.sampled_from(["none", "none", "before", "after"]), max_size=12),
)
def test_any_replica_continues_any_session_as_one_engine_would(history, failures):
    store = FailingStore(MemoryStore(RETENTION))
    store.failures = list(failures)
    world = fake_world()
    replicas = [Replica(store, world) for _ in range(3)]
    twin = SimpleEngine([world])
    for number, request in history:
        expected = outcome(twin.send, request)
        assert outcome(replicas[number].send, request) == expected
    for replica in replicas:
        replica.engine.stop()


@pytest.fixture
def store() -> FailingStore:
    return FailingStore(MemoryStore(RETENTION))


@pytest.fixture
def replicas(store) -> list[Replica]:
    return [Replica(store, timeout_s=0.05), Replica(store, timeout_s=0.05)]


def test_a_step_is_answered_only_once_it_is_stored(store, replicas):
    replicas[0].send(ResetRequest(session_id="a", seed=1))
    store.is_down = True
    with pytest.raises(StoreUnavailableError, match="did not respond"):
        replicas[0].send(StepRequest("a", 1, step=1))
    store.is_down = False
    assert replicas[1].send(SessionRequest("a")).step == 0
    assert replicas[0].send(StepRequest("a", 1, step=1)).step == 1


@pytest.mark.parametrize(
    "request_",
    [
        StepBatchRequest(["a", "x"], [1, 1]),
        DeleteBatchRequest(["a", "x"]),
        ResetBatchRequest(session_ids=["a", "x"]),
        ForkRequest("a", session_ids=["x", "y"]),
        AdminDeleteRequest("ann", ["a", "x"]),
    ],
)
def test_what_names_too_many_sessions_is_refused_before_any_is_looked_up(store, request_):
    replica = Replica(store, timeout_s=0.05, limits=Limits(rows=1, forks=1))
    store.is_down = True
    with pytest.raises(TooLargeError, match="the limit is 1"):
        replica.send(request_)


def test_requests_fail_at_once_while_the_store_is_known_to_be_down(store, replicas):
    replicas[0].send(ResetRequest(session_id="a", seed=1))
    store.is_down = True
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            replicas[0].send(StepRequest("a", 1))
    with pytest.raises(StoreUnavailableError, match="could not be looked up"):
        replicas[0].send(ResetRequest(session_id="new", seed=1))
    store.is_down = False
    assert replicas[0].send(StepRequest("a", 1)).step == 1


def test_a_stale_owner_answers_from_the_store(replicas):
    replicas[0].send(ResetRequest(session_id="a", seed=1))
    for step in (1, 2, 3):
        replicas[1].send(StepRequest("a", 1, step=step))
    assert replicas[0].send(SessionRequest("a")).step == 3
    replicas[1].send(StepRequest("a", 1, step=4))
    assert replicas[0].send(StepRequest("a", 0, step=5)).step == 5
    with pytest.raises(StepConflictError):
        replicas[1].send(StepRequest("a", 1, step=5))


def test_steps_that_queue_behind_one_another_are_all_taken_on_a_stale_owner(replicas):
    replicas[0].send(ResetRequest(session_id="a", seed=1))
    replicas[1].send(StepRequest("a", 1, step=1))
    queued = [replicas[0].submit(StepRequest("a", 0, step=step)) for step in (2, 3, 4)]
    outcomes = [replicas[0].finish(future) for future in queued]
    assert [result.step for result in outcomes] == [2, 3, 4]


def test_rows_of_a_batch_that_were_taken_over_fail_alone(replicas):
    replicas[0].send(ResetBatchRequest(session_ids=["a", "b"], seeds=[1, 2]))
    replicas[1].send(StepRequest("b", 1))
    result = replicas[0].send(StepBatchRequest(["a", "b"], np.array([1, 1])))
    assert [(error.row, error.code) for error in result.errors] == [(1, "session_moved")]
    assert result.steps.tolist() == [1, 0]
    assert not result.latents[1].any()
    again = replicas[0].send(StepBatchRequest(["a", "b"], np.array([1, 1])))
    assert again.steps.tolist() == [2, 2]


def test_sessions_that_were_taken_over_are_not_ended_with_a_batch(replicas):
    replicas[0].send(ResetBatchRequest(session_ids=["a", "b"], seeds=[1, 2]))
    replicas[1].send(StepRequest("b", 1))
    result = replicas[0].send(DeleteBatchRequest(["a", "b"]))
    assert [(error.row, error.code) for error in result.errors] == [(1, "session_moved")]
    assert not replicas[0].send(DeleteBatchRequest(["b"])).errors


def test_an_ended_session_stays_ended_everywhere(replicas):
    replicas[0].send(ResetRequest(session_id="a", seed=1))
    replicas[1].send(DeleteRequest("a"))
    for replica in replicas:
        with pytest.raises(SessionNotFoundError):
            replica.send(StepRequest("a", 1))
    assert replicas[0].send(ResetRequest(session_id="a", seed=2)).step == 0
    assert replicas[1].send(StepRequest("a", 1)).step == 1


def test_an_idle_session_expires_in_the_store_and_a_used_one_does_not():
    now_s = [0.0]
    store = MemoryStore(Retention(ttl_s=10.0, remembered_s=100.0), lambda: now_s[0])
    options = {"session_ttl_s": 10.0, "clock": lambda: now_s[0]}
    replicas = [Replica(store, **options), Replica(store, **options)]
    for session_id in ("used", "idle"):
        replicas[0].send(ResetRequest(session_id=session_id, seed=1))
    for now_s[0] in (6.0, 12.0, 18.0):
        replicas[0].send(PlanRequest("used", horizon=2))
        if now_s[0] < 10.0:
            replicas[0].send(SessionRequest("idle"))
    assert replicas[1].send(StepRequest("used", 1)).step == 1
    for replica in replicas:
        with pytest.raises(SessionExpiredError):
            replica.send(StepRequest("idle", 1))
    now_s[0] = 200.0
    with pytest.raises(SessionNotFoundError):
        replicas[1].send(StepRequest("idle", 1))


def test_a_session_of_another_bundle_is_lost_and_may_be_replaced():
    store = MemoryStore(RETENTION)
    Replica(store).send(ResetRequest(session_id="a", seed=1))
    other = Replica(store, fake_world("other"))
    with pytest.raises(SessionLostError, match="of world fake; loaded here: other"):
        other.send(StepRequest("a", 1))
    assert other.send(ResetRequest(session_id="a", seed=1)).world == "other"


@pytest.mark.parametrize("damage", [lambda r: r[:-1], lambda r: r[:3], lambda r: b"\xff" + r[1:]])
def test_a_damaged_record_activates_no_session(damage):
    store = MemoryStore(RETENTION)
    replica = Replica(store)
    replica.send(ResetRequest(session_id="a", seed=1))
    version, record, *_ = store.take([":a"], 7)[0]
    store.commit([Change(":a", 7, version + 1, damage(record))])
    with pytest.raises(SessionLostError, match="damaged"):
        replica.send(StepRequest("a", 1))


def test_a_replica_answers_a_batch_sent_again_with_the_same_signals(store):
    replicas = [Replica(store, fake_world(**KINDS["signals"])) for _ in range(2)]
    replicas[0].send(ResetBatchRequest(session_ids=["a", "b"], seeds=[1, 2]))
    again = StepBatchRequest(["a", "b"], [1, 2], steps=[1, 1], include=["signals"])
    first, second = (replica.send(again) for replica in replicas)
    assert not second.errors
    for name, column in first.signals.items():
        np.testing.assert_array_equal(second.signals[name], column)


def test_a_full_replica_takes_no_session_over(store):
    first, second = Replica(store, capacity=2), Replica(store, capacity=1)
    for session_id in ("a", "b"):
        first.send(ResetRequest(session_id=session_id, seed=1))
    second.send(StepRequest("a", 1))
    with pytest.raises(OverloadedError):
        second.send(StepRequest("b", 1))
    assert first.send(StepRequest("b", 1)).step == 1


def test_a_rewind_window_starts_empty_after_a_takeover(replicas):
    replicas[0].send(ResetRequest(session_id="a", seed=1, rewind_window=4))
    for _ in range(3):
        replicas[0].send(StepRequest("a", 1))
    assert replicas[1].send(SessionRequest("a")).rewindable_to == 3
    replicas[1].send(StepRequest("a", 1))
    assert replicas[1].send(RewindRequest("a", steps=1)).step == 3
    assert replicas[0].send(SessionRequest("a")).step == 3


def test_a_fork_is_stored_with_its_origin_or_not_answered(store, replicas):
    replicas[0].send(ResetRequest(session_id="a", seed=1))
    replicas[0].send(ForkRequest("a", session_ids=["b", "c"]))
    assert replicas[1].send(StepRequest("c", 1)).step == 1
    snapshot = replicas[1].send(SnapshotRequest("b"))
    replicas[0].send(RestoreRequest("d", snapshot))
    assert replicas[1].send(SessionRequest("d")).step == 0


def test_forks_of_a_session_that_was_ended_elsewhere_do_not_exist(replicas):
    first, second, *_ = replicas
    first.send(ResetRequest(session_id="a", seed=1))
    first.send(ResetRequest(session_id="c", seed=3))
    second.send(DeleteRequest("a"))
    with pytest.raises(SessionNotFoundError):
        first.send(ForkRequest("a", session_ids=["b", "c"]))
    with pytest.raises(SessionNotFoundError):
        second.send(SessionRequest("b"))
    assert second.send(SessionRequest("c")).seed == 3  # nor has it replaced what was there


def test_relaxed_answers_before_the_store_and_records_once_it_responds(store):
    replica = Replica(store, strict=False, timeout_s=0.05)
    replica.send(ResetRequest(session_id="a", seed=1))
    store.is_down = True
    for step in (1, 2, 3):
        assert replica.send(StepRequest("a", 1, step=step)).step == step
    store.is_down = False
    replica.engine.stop()
    assert Replica(store).send(SessionRequest("a")).step == 3


def test_a_stopping_engine_waits_for_the_store(store):
    replica = Replica(store, timeout_s=5.0)
    replica.send(ResetRequest(session_id="a", seed=1))
    store.failures = ["before"] * 3
    future = replica.submit(StepRequest("a", 1))
    replica.engine.turn()
    replica.engine.stop()
    assert future.result(timeout=0).step == 1
    assert Replica(store).send(SessionRequest("a")).step == 1


def test_requests_that_wait_for_the_store_are_bounded(store):
    replica = Replica(store, timeout_s=5.0, max_queue=2)
    store.is_down = True
    futures = []
    for session_id in "ab":
        futures.append(replica.submit(StepRequest(session_id, 1)))
        replica.engine.turn()
    with pytest.raises(OverloadedError, match="wait for the session store"):
        replica.submit(StepRequest("c", 1))
    store.is_down = False
    for future in futures:
        with pytest.raises(SessionNotFoundError):
            replica.finish(future)
    assert concurrent.futures.wait(futures, timeout=0).done
