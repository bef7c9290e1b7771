"""Whatever a store does harms no session: it hangs, raises, loses replies, or is down."""

import threading
from collections.abc import Callable, Sequence

import pytest

from dreamserve.engine.durability.committer import Commit, Committer
from dreamserve.engine.fake import fake_world
from dreamserve.engine.sessions import listing
from dreamserve.engine.sessions.ledger import Lease, StoredUse
from dreamserve.store.base import ENDED, Change, StoreError, StoreFullError, Taken
from dreamserve.store.memory import MemoryStore
from dreamserve_protocol.batches import DeleteBatchRequest, ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.errors import SessionNotFoundError, StoreUnavailableError
from dreamserve_protocol.listing import AdminDeleteRequest, DeleteIdleRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import DeleteRequest, SessionRequest
from dreamserve_protocol.step import StepRequest

from .durable import RETENTION, WAIT_S, FailingStore, Replica


class OnceStore(FailingStore):
    """A store whose next commit of a record does something once it is applied, and then fails."""

    once: Callable[[], None] | None = None

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        applied, once = super().commit(changes), self.once
        if once is not None and any(change.record for change in changes):
            self.once = None
            once()
            raise StoreError("the reply was lost")
        return applied


class FullStore(FailingStore):
    """A store that has no room, while it is told so: it keeps no record, and gives none away."""

    is_full = False

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        first = next((i for i, one in enumerate(changes) if one.record), len(changes))
        if not self.is_full or first == len(changes):
            return super().commit(changes)
        super().commit(changes[:first])
        raise StoreFullError("no room")

    def take(self, keys: Sequence[str], epoch: int) -> list[Taken | None]:
        if not self.is_full:
            return super().take(keys, epoch)
        with self.store._lock:
            found = [self.store._find(key) for key in keys]
        return [one and Taken(one.version + 1, one.record, 0.0, one.epoch) for one in found]


class HangingStore(FailingStore):
    """A store whose commits do not return, while it is told so."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.hangs, self.began, self.returns = False, threading.Event(), threading.Event()

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        if self.hangs:
            self.began.set()
            assert self.returns.wait(WAIT_S)
        return super().commit(changes)


def await_(holds: Callable[[], bool]) -> None:
    """Wait until something holds, which another thread brings about."""
    for _ in range(int(WAIT_S / 0.001)):
        if holds():
            return
        threading.Event().wait(0.001)
    raise AssertionError


@pytest.fixture
def shared() -> MemoryStore:
    return MemoryStore(RETENTION)


@pytest.fixture
def store(shared) -> OnceStore:
    return OnceStore(shared)


def test_a_step_is_not_taken_twice_when_its_reply_is_lost_and_its_session_moves(store, shared):
    first, second = Replica(store), Replica(shared)
    first.send(ResetRequest(session_id="a", seed=1))
    store.once = lambda: second.send(SessionRequest("a"))
    with pytest.raises(StoreUnavailableError, match="was taken over elsewhere, and the store did"):
        first.send(StepRequest("a", 1))
    assert first.send(SessionRequest("a")).step == 1
    store.once = lambda: second.send(SessionRequest("a"))
    assert first.send(StepRequest("a", 1, step=2)).step == 2  # a numbered one is run again


def test_a_batch_says_which_rows_are_in_doubt(store, shared):
    first, second = Replica(store), Replica(shared)
    first.send(ResetBatchRequest(session_ids=["a", "b"], seeds=[1, 2]))
    store.once = lambda: second.send(SessionRequest("b"))
    result = first.send(StepBatchRequest(["a", "b"], [1, 1]))
    assert [(error.row, error.code) for error in result.errors] == [(1, "store_unavailable")]


def test_a_fault_in_the_stores_code_is_an_error_of_the_request(store, caplog):
    replica = Replica(store, timeout_s=0.02)
    replica.send(ResetRequest(session_id="a", seed=1))

    def fault() -> None:
        raise ZeroDivisionError

    store.once = fault
    store.is_down = False
    replica.send(StepRequest("a", 1, step=1))  # the second attempt is applied
    assert "an operation of the session store failed" in caplog.text
    assert replica.send(StepRequest("a", 1, step=2)).step == 2


@pytest.mark.parametrize("request_", [DeleteIdleRequest(0.0), AdminDeleteRequest(idle_s=0.0)])
def test_idle_sessions_are_said_to_be_ended_once_the_store_has_ended_them(store, shared, request_):
    replica = Replica(store, timeout_s=0.02)
    replica.send(ResetBatchRequest(session_ids=["a", "b"], seeds=[1, 2]))
    store.is_down = True
    with pytest.raises(StoreUnavailableError):
        replica.send(request_)
    store.is_down = False
    assert Replica(shared).send(SessionRequest("a")).step == 0


def test_all_slices_of_a_deletion_wait_for_the_store(store, monkeypatch):
    monkeypatch.setattr(listing, "DELETED_AT_ONCE", 2)
    replica = Replica(store, timeout_s=0.0)
    replica.send(ResetBatchRequest(session_ids=list("abcde"), seeds=list(range(5))))
    store.failures = ["before"]  # of the first slice's commit
    with pytest.raises(StoreUnavailableError):
        replica.send(DeleteIdleRequest(0.0))


def test_a_session_that_lives_elsewhere_is_not_counted_as_ended(store, shared):
    first, second = Replica(store), Replica(shared)
    first.send(ResetBatchRequest(session_ids=list("abc"), seeds=[1, 2, 3]))
    second.send(StepRequest("b", 1))
    assert first.send(DeleteIdleRequest(0.0)).deleted == 2
    assert second.send(SessionRequest("b")).step == 1


def test_what_queues_behind_a_hanging_operation_fails_with_it(store):
    replica = Replica(store, timeout_s=0.0)
    replica.send(ResetBatchRequest(session_ids=list("abc"), seeds=[1, 2, 3]))
    hanging, release, operations = threading.Event(), threading.Event(), []

    def hang() -> None:
        operations.append(1)
        hanging.set()
        assert release.wait(WAIT_S)

    store.once = hang
    futures = [replica.submit(StepRequest("a", 1, step=1))]
    replica.engine.turn()
    assert hanging.wait(WAIT_S)
    store.once = hang
    futures += [replica.submit(StepRequest(one, 1, step=1)) for one in "bc"]
    futures.append(replica.submit(StepRequest("unknown", 1)))
    replica.engine.turn()
    release.set()
    for future in futures:
        with pytest.raises(StoreUnavailableError):
            replica.finish(future)
    assert len(operations) == 1
    store.once = None
    assert [replica.send(StepRequest(one, 1, step=1)).step for one in "abc"] == [1, 1, 1]


def test_a_stopping_relaxed_server_waits_for_a_store_that_comes_back(store, shared):
    replica = Replica(store, strict=False, timeout_s=0.0)
    replica.send(ResetRequest(session_id="a", seed=1))
    assert replica.send(SessionRequest("a")).step == 0
    store.failures = ["before"] * 6
    replica.send(StepRequest("a", 1, step=1))
    replica.engine.stop()
    assert Replica(shared).send(SessionRequest("a")).step == 1


def test_what_began_and_ended_while_the_store_was_down_is_not_kept(store, shared):
    """A relaxed server in an outage kept every session that ever ended, and sent all of them."""
    told = threading.Semaphore(0)
    committer = Committer(store, lambda *found: None, strict=False, timeout_s=0.0)

    def commit(lease: Lease, record: bytes) -> None:
        use = StoredUse(lease, record, renew=True)
        committer.commit(Commit([use], lambda failure: told.release()))
        assert told.acquire(timeout=WAIT_S)

    before, live, ended = Lease("before", 1), Lease("live", 2), Lease("ended", 3)
    commit(before, b"record")
    store.is_down = True
    for lease in (live, ended):
        commit(lease, b"record")
    for lease in (before, ended):
        lease.held = False
        commit(lease, ENDED)
    store.is_down = False
    committer.stop(WAIT_S)
    found = shared.read([":before", ":live", ":ended"])
    assert [one and one.record for one in found] == [ENDED, b"record", None]


def test_the_sessions_that_a_relaxed_server_must_still_record_fit_twice_its_capacity(store):
    now_s = [0.0]
    options = {"capacity": 3, "session_ttl_s": 10.0, "clock": lambda: now_s[0]}
    replica = Replica(store, strict=False, timeout_s=0.0, **options)
    for session_id in "abc":
        replica.send(ResetRequest(session_id=session_id, seed=1))
    committer = replica.engine.gate.committer
    await_(lambda: committer.measures.confirmed >= 3)
    store.is_down = True
    for session_id in "abc":
        replica.send(DeleteRequest(session_id))
    for round_ in range(8):
        for _ in range(3):
            replica.send(ResetRequest(seed=1))
        if round_ % 2:
            replica.send(DeleteIdleRequest(0.0))
        now_s[0] += 11.0  # what was not ended expires
        await_(lambda: not committer._commits and len(committer._unconfirmed) <= 6)
    store.is_down = False
    replica.engine.stop()
    assert committer.measures.confirmed <= 3 + 6


def test_worlds_come_and_go_while_their_sessions_move(shared):
    """A takeover needs the world of the session, in the same version, also while it is retired."""
    first, second = Replica(shared, fake_world("one")), Replica(shared, fake_world("one"))
    for replica in (first, second):
        replica.engine.served.add(fake_world("two"))
    first.send(ResetRequest("one", session_id="a", seed=1))
    first.send(ResetRequest("one", session_id="b", seed=1))
    second.engine.served.remove("one")
    with pytest.raises(Exception, match="loaded here: two"):
        second.send(StepRequest("a", 1, step=1))
    assert first.send(StepRequest("a", 1, step=1)).step == 1  # taken back
    first.engine.served.remove("one")
    assert first.send(StepRequest("b", 1, step=1)).step == 1
    for session_id in "ab":
        first.send(DeleteRequest(session_id))
    with pytest.raises(Exception, match="no session a"):
        second.send(StepRequest("a", 1))


@pytest.fixture
def full(shared) -> FullStore:
    return FullStore(shared)


@pytest.mark.parametrize("strict", [True, False])
def test_sessions_are_ended_in_a_full_store_from_every_replica(full, strict) -> None:
    first, second = (Replica(full, strict=strict) for _ in range(2))
    for session_id in "abcd":
        first.send(ResetRequest(session_id=session_id, seed=1))
    await_(lambda: all(full.read([":d"])))
    full.is_full = True
    first.send(DeleteRequest("a"))
    second.send(DeleteRequest("b"))
    assert second.send(DeleteBatchRequest(["c"])).errors == []
    await_(lambda: [one.record == ENDED for one in full.read([":a", ":b", ":c"])] == [True] * 3)
    with pytest.raises(StoreUnavailableError, match="full"):
        second.send(StepRequest("d", 1, step=1))
    full.is_full = False
    assert second.send(StepRequest("d", 1, step=1)).step == 1
    with pytest.raises(SessionNotFoundError):
        second.send(StepRequest("b", 1))


def test_a_session_that_was_ended_elsewhere_in_a_full_store_does_not_come_back(full) -> None:
    first, second = Replica(full), Replica(full)
    first.send(ResetRequest(session_id="a", seed=1))
    full.is_full = True
    second.send(DeleteRequest("a"))
    full.is_full = False  # its owner does not know yet
    with pytest.raises(SessionNotFoundError):
        first.send(StepRequest("a", 1, step=1))


def test_what_needs_no_room_does_not_fail_with_what_does(full) -> None:
    replica = Replica(full, timeout_s=WAIT_S)
    replica.send(ResetBatchRequest(session_ids=list("abc"), seeds=[1, 2, 3]))
    full.is_full = True
    futures = [
        replica.submit(one)
        for one in (StepRequest("a", 1, step=1), DeleteRequest("b"), SessionRequest("c"))
    ]
    with pytest.raises(StoreUnavailableError, match="the session store is full"):
        replica.finish(futures[0])  # without waiting for room
    assert replica.finish(futures[1]) is None
    assert replica.finish(futures[2]).step == 0
    assert replica.engine.gate.committer.measures.failed == 1
    assert not replica.engine.gate.committer.is_up
    full.is_full = False
    assert replica.send(StepRequest("a", 1, step=1)).step == 1
    assert replica.engine.gate.committer.is_up


def test_a_relaxed_server_says_what_it_could_not_record_as_it_stops(shared, caplog) -> None:
    store = HangingStore(shared)
    replica = Replica(store, strict=False)
    replica.send(ResetRequest(session_id="a", seed=1))
    await_(lambda: all(shared.read([":a"])))
    store.hangs = True
    assert replica.send(StepRequest("a", 1, step=1)).step == 1
    assert store.began.wait(WAIT_S)
    assert replica.send(StepRequest("a", 1, step=2)).step == 2  # queues behind
    replica.engine.gate.stop(0.0)  # while the store hangs
    assert "1 sessions could not be recorded before the end" in caplog.text
    assert replica.engine.unrecorded == 1
    store.returns.set()


def test_a_server_that_stops_tries_no_more_once_its_time_has_passed(store, shared) -> None:
    replica = Replica(store, strict=False, timeout_s=0.0)
    replica.send(ResetRequest(session_id="a", seed=1))
    await_(lambda: all(shared.read([":a"])))
    store.is_down = True
    replica.send(StepRequest("a", 1, step=1))
    replica.engine.gate.stop(0.0)
    assert replica.engine.unrecorded == 1


def test_a_strict_server_that_stops_has_lost_nothing(shared) -> None:
    store = HangingStore(shared)
    replica = Replica(store)
    replica.send(ResetRequest(session_id="a", seed=1))
    store.hangs = True
    replica.submit(StepRequest("a", 1, step=1))  # gets no answer
    replica.engine.turn()
    assert store.began.wait(WAIT_S)
    replica.engine.gate.stop(0.0)
    assert replica.engine.unrecorded == 0
    store.returns.set()
