"""The engine's side of a store: fetches sessions before they are used, and holds outcomes back.

A request about sessions that are not here waits until they have been looked up in the store, and
taken over if they exist. After a turn, its changes go to the committer, and with `strict` the
outcomes leave only once the store has confirmed them. This includes outcomes that changed nothing:
a session that another engine has taken over must not be read here either. Where the store refused,
nothing of the outcome has happened, so the request is run again on the session as it is stored.
"""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from dreamserve.engine.durability.committer import Commit, Committer
from dreamserve.engine.scheduling.queued import QueuedRequest, Settled, StoreNeeds
from dreamserve.engine.sessions.ledger import Absence, Lease, Ledger
from dreamserve.engine.sessions.owned import no_session
from dreamserve.engine.sessions.slab import SessionKey
from dreamserve.engine.sessions.stored import unpacked
from dreamserve.engine.sessions.table import SessionTable, id_of, key_of
from dreamserve.store.base import ENDED, Store, Taken
from dreamserve_protocol.arrays import Bools
from dreamserve_protocol.batches import (
    DeleteBatchResult,
    FinalRows,
    RowError,
    StepBatchRequest,
    StepBatchResult,
)
from dreamserve_protocol.errors import (
    A_RESET,
    ProblemError,
    SessionExpiredError,
    SessionMovedError,
    StoreUnavailableError,
)
from dreamserve_protocol.step import StepResult
from dreamserve_protocol.wire import fields_of

BatchResult = StepBatchResult | DeleteBatchResult
MOST_RUNS = 4  # of one request
RUN_AGAIN_S = 5.0  # a request is not run again later than this: its caller has sent it elsewhere


@dataclass(frozen=True, slots=True)
class Durability:
    """Where sessions are stored, and when a result may be returned."""

    store: Store
    strict: bool = True  # only once it is stored; otherwise at once
    timeout_s: float = 5.0  # for one operation of the store, with all its attempts


class Requeue(Protocol):
    """What the gate needs of the engine; callable from any thread."""

    def requeue(self, requests: Sequence[QueuedRequest]) -> None:
        """Queue requests again."""
        ...

    def deliver(self, outcomes: list[Settled]) -> None:
        """Settle the futures of requests."""
        ...

    def wake(self) -> None:
        """Let a turn happen."""
        ...


class Gate:
    """Fetches the sessions of requests, and holds back the outcomes of turns.

    `ready`, `arrive` and `hold` belong to the thread of the current turn.
    """

    def __init__(
        self,
        durability: Durability,
        sessions: SessionTable,
        ledger: Ledger,
        engine: Requeue,
    ) -> None:
        self._sessions, self._ledger, self._engine = sessions, ledger, engine
        self._strict = durability.strict
        self._committer = Committer(
            durability.store,
            self._found,
            strict=durability.strict,
            timeout_s=durability.timeout_s,
        )
        self._lookups: dict[SessionKey, list[QueuedRequest]] = {}  # requests that wait, by session
        self._arrived: deque[tuple[SessionKey, Taken | str | None, int]] = deque()  # what was found
        self._parked = 0  # requests that wait for sessions
        self._held = self._released = 0  # outcomes so far; each number is written by one thread

    @property
    def waiting(self) -> int:
        """Requests and outcomes that wait for the store."""
        return self._parked + self._held - self._released

    @property
    def has_arrivals(self) -> bool:
        """Whether `arrive` has something to do."""
        return bool(self._arrived)

    def stop(self, deadline_s: float) -> None:
        """Wait until everything is stored and every outcome has left, at most `deadline_s`."""
        self._committer.stop(deadline_s)

    def empty(self) -> list[QueuedRequest]:
        """Remove and return the requests that wait for sessions."""
        parked = list(
            {id(one): one for waiting in self._lookups.values() for one in waiting}.values()
        )
        self._lookups.clear()
        self._parked = 0
        return parked

    def ready(self, requests: Sequence[QueuedRequest]) -> list[QueuedRequest]:
        """Return the requests whose sessions are here, or nowhere; look up those of the others."""
        self._ledger.absent.clear()
        ready, new = [], []
        for queued in requests:
            named, needs = _keys(queued, queued.request), _needs(queued)
            holds, absent = self._sessions.holds, needs.absent
            missing = [key for key in named if not holds(key) and key not in absent]
            if not missing:
                self._ledger.absent.update(absent)
                leases = map(self._ledger.leases.get, named)
                needs.leases = [lease for lease in leases if lease is not None]
                ready.append(queued)
                continue
            needs.awaited = len(missing)
            self._parked += 1
            for key in missing:
                if key not in self._lookups:
                    new.append(key)
                self._lookups.setdefault(key, []).append(queued)
        if new:
            self._committer.look_up(new)
        return ready

    def resume(self, requests: Iterable[QueuedRequest]) -> None:
        """Let jobs go on with what was looked up for them."""
        self._ledger.absent.clear()
        for queued in requests:
            self._ledger.absent.update(_needs(queued).absent)

    def arrive(self) -> tuple[list[QueuedRequest], list[Settled]]:
        """Take over the sessions that were found; return the requests that need not wait longer.

        Also return the requests whose sessions could not be looked up, with the error.
        """
        ready: list[QueuedRequest] = []
        failed: list[Settled] = []
        while self._arrived:
            key, found, epoch = self._arrived.popleft()
            absence = self._adopt(key, found, epoch)
            for queued in self._lookups.pop(key, ()):
                needs = _needs(queued)
                needs.awaited -= 1
                if absence is not None:
                    needs.absent[key] = absence
                if needs.awaited == 0:
                    self._parked -= 1
                    unknown = _unknown(needs)
                    if unknown is None:
                        ready.append(queued)
                    else:
                        failed.append((queued, unknown))
        return ready, failed

    def hold(self, settled: list[Settled]) -> list[Settled]:
        """Send a turn's changes to the store; return the outcomes that need not wait for it."""
        records = self._sessions.drain()
        at_once: list[Settled] = []
        held: list[tuple[QueuedRequest, Any, list[Lease]]] = []
        involved = {use.lease.key: use.lease for use in records}
        for queued, outcome in settled:
            leases = _needs(queued).leases
            if type(outcome) is not StepResult:  # which involves no other session; most are
                keys = {*_keys(queued, queued.request), *_keys(queued, outcome)}
                now = [involved.get(key) or self._ledger.leases.get(key) for key in keys]
                leases = [*leases, *(lease for lease in now if lease is not None)]
            if leases and (self._strict or isinstance(outcome, ProblemError)):
                held.append((queued, outcome, leases))
            else:
                at_once.append((queued, outcome))
        if records or held:
            self._held += len(held)
            self._committer.commit(Commit(records, partial(self._release, held)))
        return at_once

    def _found(
        self, keys: Sequence[SessionKey], found: Sequence[Taken | None] | str, epoch: int
    ) -> None:
        """Receive what the committer has found, in its thread."""
        each = [found] * len(keys) if isinstance(found, str) else found
        self._arrived.extend((key, one, epoch) for key, one in zip(keys, each, strict=True))
        self._engine.wake()

    def _adopt(self, key: SessionKey, found: Taken | str | None, epoch: int) -> Absence | None:
        """Take a session over; return why it cannot be used, if so."""
        session_id = id_of(key)
        if isinstance(found, str):
            unknown = f"session {session_id} could not be looked up: {found}"
            return Absence(StoreUnavailableError(unknown))
        if found is None:
            return Absence(no_session(session_id))
        lease = Lease(key, epoch, found.version, is_stored=True)
        if found.record == ENDED:
            return Absence(no_session(session_id), lease)
        if found.idle_s > self._sessions.ttl_s:
            expired = SessionExpiredError(
                f"session {session_id} was idle too long; {A_RESET} starts over"
            )
            return Absence(expired, lease)
        try:
            slab, record = unpacked(self._sessions.numbered.values(), session_id, found.record)
            self._sessions.adopt(lease, slab, record, found.idle_s)
        except ProblemError as error:
            return Absence(error, lease)
        return None

    def _release(
        self,
        held: Sequence[tuple[QueuedRequest, Any, list[Lease]]],
        failure: str | None,
    ) -> None:
        """Let outcomes leave, in the committer's thread, or their requests run again.

        A change in doubt may have been applied before its session was taken over: a request that
        must not be sent twice is then not run twice either.
        """
        self._released += len(held)
        leaving: list[Settled] = []
        again: list[QueuedRequest] = []
        for queued, outcome, leases in held:
            lost = {id_of(lease.key): lease.in_doubt for lease in leases if lease.lost}
            if not lost:
                leaving.append((queued, outcome))
            elif failure is not None:
                error = StoreUnavailableError(f"the session store did not respond: {failure}")
                leaving.append((queued, error))
            elif isinstance(outcome, BatchResult) and not _is_numbered(queued):
                leaving.append((queued, _without(outcome, lost)))  # the other rows have happened
            elif any(lost.values()) and not queued.request.may_be_resent():
                leaving.append((queued, StoreUnavailableError(_doubt(min(lost)))))
            elif _may_run_again(queued):
                again.append(queued)
            else:
                moved = f"session {min(lost)} was taken over elsewhere"
                leaving.append((queued, SessionMovedError(moved)))
        if leaving:
            self._engine.deliver(leaving)
        if again:
            self._engine.requeue(again)


def _may_run_again(queued: QueuedRequest) -> bool:
    needs = _needs(queued)
    needs.runs += 1
    needs.absent.clear()
    is_recent = time.monotonic() - needs.since_s < RUN_AGAIN_S
    return is_recent and needs.runs < MOST_RUNS and not queued.future.cancelled()


def _is_numbered(queued: QueuedRequest) -> bool:
    return isinstance(queued.request, StepBatchRequest) and queued.request.may_be_resent()


def _needs(queued: QueuedRequest) -> StoreNeeds:
    if queued.needs is None:
        queued.needs = StoreNeeds(time.monotonic())
    return queued.needs


def _keys(queued: QueuedRequest, message: Any) -> list[SessionKey]:
    """Return the keys of the sessions that the request, or its result, is about."""
    one, many = getattr(message, "session_id", None), getattr(message, "session_ids", None)
    ids = [*([] if one is None else [one]), *([] if many is None else many)]
    owner = getattr(message, "owner", None) or queued.owner  # an administrator names another one
    return [key_of(owner, session_id) for session_id in ids] if owner else ids


def _unknown(needs: StoreNeeds) -> ProblemError | None:
    """Return the error if a session of the request could not be looked up."""
    errors = (absence.error for absence in needs.absent.values())
    return next((error for error in errors if isinstance(error, StoreUnavailableError)), None)


def _doubt(session_id: str) -> str:
    return (
        f"session {session_id} was taken over elsewhere, and the store did not tell whether this"
        " request had been recorded before"
    )


def _without(result: BatchResult, lost: Mapping[str, bool]) -> BatchResult:
    """Return a batch's result in which the rows of lost sessions have failed.

    `lost` tells which of them may have been recorded.
    """
    failed = {error.row for error in result.errors}
    rows = [row for row, key in enumerate(result.session_ids) if key in lost and row not in failed]
    for row in rows:
        key = result.session_ids[row]
        moved = SessionMovedError(f"session {key} was taken over elsewhere")
        error = StoreUnavailableError(_doubt(key)) if lost[key] else moved
        result.errors.append(RowError.of(row, error))
    result.errors.sort(key=lambda error: error.row)
    if isinstance(result, DeleteBatchResult):
        return result
    for column in [*fields_of(result).values(), *(result.state or {}).values()]:
        if isinstance(column, np.ndarray):
            column[rows] = 0
    if result.final is None:
        return result
    kept = ~np.isin(result.final.rows, rows)
    return replace(result, final=_masked(result.final, kept) if kept.any() else None)


def _masked(final: FinalRows, kept: Bools) -> FinalRows:
    """Return the rows where `kept` (F,) is true."""
    columns = fields_of(final)
    state = columns.pop("state", None)
    rows = {name: column[kept] for name, column in columns.items()}
    return FinalRows(**rows, state=state and {name: part[kept] for name, part in state.items()})
