"""A store that answers and takes nothing, as a full disk or a replica does, counts as down."""

import threading
from collections.abc import Sequence

import pytest

from dreamserve.engine.durability.committer import Commit, Committer
from dreamserve.engine.sessions.ledger import Lease, StoredUse
from dreamserve.store.base import Change, StoreError, StoreFullError, Taken
from dreamserve.store.memory import MemoryStore
from dreamserve_protocol.errors import SessionNotFoundError, StoreUnavailableError
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import SessionRequest
from dreamserve_protocol.step import StepRequest

from .durable import RETENTION, WAIT_S, FailingStore, Replica


class ReadOnlyStore(FailingStore):
    """A store that refuses everything but reading, while it is told so."""

    refusal: StoreError | None = None

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.attempts = 0  # to write

    def take(self, keys: Sequence[str], epoch: int) -> list[Taken | None]:
        self._check()
        return super().take(keys, epoch)

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        self._check()
        return super().commit(changes)

    def _check(self) -> None:
        self.attempts += 1
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def store() -> ReadOnlyStore:
    return ReadOnlyStore(MemoryStore(RETENTION))


def test_reading_does_not_bring_back_a_store_that_refuses_changes(store, caplog) -> None:
    replica = Replica(store, timeout_s=0.05)
    committer = replica.engine.gate.committer
    replica.send(ResetRequest(session_id="a", seed=1))
    store.refusal = StoreError("READONLY")
    with pytest.raises(StoreUnavailableError):
        replica.send(StepRequest("a", 1, step=1))
    for session_id in "bcd":
        with pytest.raises(SessionNotFoundError):  # reading goes on
            replica.send(SessionRequest(session_id))
        assert not committer.is_up
        store.attempts = 0
        with pytest.raises(StoreUnavailableError):
            replica.send(ResetRequest(session_id=session_id))
        assert store.attempts == 1  # at once
    assert "responds again" not in caplog.text
    store.refusal = None
    assert replica.send(StepRequest("a", 1, step=1)).step == 1
    assert committer.is_up
    assert caplog.text.count("responds again") == 1


def test_a_takeover_that_finds_the_store_full_does_not_fail_what_is_queued_behind_it(store) -> None:
    told = threading.Semaphore(0)
    outcomes: list[object] = []
    hanging, release = threading.Event(), threading.Event()

    def hang() -> None:
        store._check = lambda: None
        hanging.set()
        assert release.wait(WAIT_S)
        raise StoreFullError("no room")

    def tell(*outcome: object) -> None:
        outcomes.append(outcome)
        told.release()

    committer = Committer(store, tell, strict=True, timeout_s=WAIT_S)
    store._check = hang
    committer.take([("", "a")])
    assert hanging.wait(WAIT_S)
    committer.commit(Commit([StoredUse(Lease("b", 1), b"record", renew=True)], tell))
    release.set()
    for _ in range(2):
        assert told.acquire(timeout=WAIT_S)
    assert outcomes[0][1] == "no room"
    assert outcomes[1] == (None,)
    assert committer.is_up  # since there was room for a record
    committer.stop(WAIT_S)


def test_changes_that_fail_with_those_ahead_of_them_are_counted(store) -> None:
    told = threading.Semaphore(0)
    hanging, release = threading.Event(), threading.Event()
    committer = Committer(store, lambda *found: None, strict=True, timeout_s=0.0)

    def commit(*leases: Lease) -> None:
        uses = [StoredUse(lease, b"record", renew=True) for lease in leases]
        committer.commit(Commit(uses, lambda failure: told.release()))

    def hang() -> None:
        hanging.set()
        assert release.wait(WAIT_S)
        raise StoreError("lost")

    store._check = hang
    commit(Lease("a", 1))
    assert hanging.wait(WAIT_S)
    commit(Lease("b", 2), Lease("c", 3))  # one turn's
    commit(Lease("d", 4))
    release.set()
    for _ in range(3):
        assert told.acquire(timeout=WAIT_S)
    assert committer.measures.failed == 4
    assert committer.measures.confirmed == committer.measures.refused == 0
    committer.stop(WAIT_S)


def test_forks_whose_origin_fails_are_counted_as_failed_too(store) -> None:
    told = threading.Semaphore(0)
    committer = Committer(store, lambda *found: None, strict=True, timeout_s=0.0)
    store.refusal = StoreError("lost")
    origin = Lease("origin", 1)
    forks = [StoredUse(Lease(name, 2), b"record", True, origin) for name in "ab"]
    uses = [StoredUse(origin, b"record", True), *forks]
    committer.commit(Commit(uses, lambda failure: told.release()))
    assert told.acquire(timeout=WAIT_S)
    assert committer.measures.failed == 3
    committer.stop(WAIT_S)
