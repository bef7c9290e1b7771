"""Holds the outcomes of turns back until the store has confirmed what they did.

After a turn, its changes go to the committer, and with `strict` the outcomes leave only once the
store has confirmed them. This includes outcomes that changed nothing: a session that another engine
has taken over must not be read here either. Where the store refused, nothing of the outcome has
happened, so the request is run again on the session as it is stored. `lookups` fetches sessions.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dreamserve.engine.durability.attempts import Failure, NoRoom
from dreamserve.engine.durability.committer import Commit, Committer, Results
from dreamserve.engine.durability.lookups import Lookups
from dreamserve.engine.durability.lost_rows import (
    BatchResult,
    CountResult,
    in_doubt,
    without_rows,
    without_some,
)
from dreamserve.engine.durability.needs import ends_unnamed, keys_of, needs_of
from dreamserve.engine.durability.recovery import recover
from dreamserve.engine.durability.stalls import Stalls
from dreamserve.engine.scheduling.queued import QueuedRequest, Settled
from dreamserve.engine.sessions.keys import SessionKey, id_of
from dreamserve.engine.sessions.ledger import Lease, Ledger, StoredUse
from dreamserve.engine.sessions.stored import packed
from dreamserve.engine.sessions.table import SessionTable
from dreamserve.store.base import ENDED, Store
from dreamserve_protocol.batches import StepBatchRequest
from dreamserve_protocol.errors import (
    ProblemError,
    SessionMovedError,
    StoreUnavailableError,
)
from dreamserve_protocol.step import StepResult

MOST_RUNS = 4  # of one request
RUN_AGAIN_S = 5.0  # a request is not run again later than this: its caller has sent it elsewhere


@dataclass(frozen=True, slots=True)
class Durability:
    """Where sessions are stored, and when a result may be returned."""

    store: Store
    strict: bool = True  # only once it is stored; otherwise at once
    timeout_s: float = 5.0  # for one operation of the store, with all its attempts
    stalls: Stalls | None = None  # of a store that other servers use, too


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
    """Holds outcomes back, and runs requests again; the thread of the current turn uses it."""

    def __init__(
        self,
        durability: Durability,
        sessions: SessionTable,
        ledger: Ledger,
        engine: Requeue,
    ) -> None:
        self._sessions, self._ledger, self._engine = sessions, ledger, engine
        recover(durability.store, sessions)
        self._strict = durability.strict
        self.committer = Committer(
            durability.store,
            self._found,
            strict=durability.strict,
            timeout_s=durability.timeout_s,
        )
        self.lookups = Lookups(sessions, ledger, self.committer.read, self.committer.take)
        self._held = self._released = 0  # outcomes so far; each number is written by one thread

    @property
    def waiting(self) -> int:
        """Requests and outcomes that wait for the store."""
        return self.lookups.parked + self._held - self._released

    def stop(self, deadline_s: float) -> None:
        """Wait until everything is stored and every outcome has left, at most `deadline_s`."""
        self.committer.stop(deadline_s)

    def hold(self, settled: list[Settled], ran: Iterable[QueuedRequest]) -> list[Settled]:
        """Send a turn's changes to the store; return the outcomes that need not wait for it.

        `ran` are the turn's requests, those included whose jobs go on.
        """
        if ended := list(self._ledger.ended):
            for queued in ran:
                if ends_unnamed(queued.request):
                    needs_of(queued).leases.extend(ended)
        uses = _drained(self._sessions, self._ledger)
        at_once: list[Settled] = []
        held: list[tuple[QueuedRequest, Any, list[Lease]]] = []
        involved = {use.lease.key: use.lease for use in uses}
        for queued, outcome in settled:
            leases = needs_of(queued).leases
            if type(outcome) is not StepResult:  # which involves no other session; most are
                keys = {*keys_of(queued, queued.request), *keys_of(queued, outcome)}
                now = [involved.get(key) or self._ledger.leases.get(key) for key in keys]
                leases = [*leases, *(lease for lease in now if lease is not None)]
            if leases and (self._strict or isinstance(outcome, ProblemError)):
                held.append((queued, outcome, leases))
            else:
                at_once.append((queued, outcome))
        if uses or held:
            self._held += len(held)
            self.committer.commit(Commit(uses, lambda failure: self._release(held, failure)))
        return at_once

    def _found(self, keys: Sequence[SessionKey], found: Results, epoch: int) -> None:
        """Receive what the committer has found, in its thread."""
        self.lookups.found(keys, found, epoch)
        self._engine.wake()

    def _release(
        self, held: Sequence[tuple[QueuedRequest, Any, list[Lease]]], failure: Failure | None
    ) -> None:
        """Let outcomes leave, in the committer's thread, or their requests run again.

        A change in doubt may have been applied before its session was taken over: a request that
        must not be sent twice is then not run twice either.
        """
        leaving: list[Settled] = []
        again: list[QueuedRequest] = []
        for queued, outcome, leases in held:
            lost = {id_of(lease.key): lease.in_doubt for lease in leases if lease.lost}
            if not lost:
                leaving.append((queued, outcome))
            elif failure is not None:
                problem = "is full" if isinstance(failure, NoRoom) else "did not respond"
                error = StoreUnavailableError(f"the session store {problem}: {failure}")
                leaving.append((queued, error))
            elif isinstance(outcome, CountResult):
                leaving.append((queued, without_some(outcome, leases)))
            elif isinstance(outcome, BatchResult) and not _is_numbered(queued):
                # the other rows have happened
                leaving.append((queued, without_rows(outcome, lost)))
            elif any(lost.values()) and not queued.request.may_be_resent():
                leaving.append((queued, in_doubt(min(lost))))
            elif _may_run_again(queued):
                again.append(queued)
            else:
                moved = f"session {min(lost)} was taken over elsewhere"
                leaving.append((queued, SessionMovedError(moved)))
        if leaving:
            self._engine.deliver(leaving)
        if again:
            self._engine.requeue(again)
        self._released += len(held)  # last: until now, these requests are in progress


def _drained(sessions: SessionTable, ledger: Ledger) -> list[StoredUse]:
    """Return the uses of stored sessions since the last call.

    What raises an error is not tried again: it would fail every later turn, too.
    """
    changed: dict[SessionKey, bytes] = {}
    try:
        for slab in sessions.numbered.values():
            if slab.changed:
                slots = np.array(sorted(slab.changed))
                slab.changed.clear()
                keys = map(slab.holder, slots.tolist())
                changed.update(zip(keys, packed(slab, slots), strict=True))
        uses = [StoredUse(lease, ENDED, True) for lease in ledger.ended]
        uses += [
            StoredUse(ledger.leases[key], changed.get(key), renew, ledger.origins.get(key))
            for key, renew in ledger.used.items()
        ]
    finally:
        ledger.ended.clear()
        ledger.used.clear()
        ledger.origins.clear()
    return uses


def _may_run_again(queued: QueuedRequest) -> bool:
    needs = needs_of(queued)
    needs.runs += 1
    needs.absent.clear()
    is_recent = time.monotonic() - needs.since_s < RUN_AGAIN_S
    return is_recent and needs.runs < MOST_RUNS and not queued.future.cancelled()


def _is_numbered(queued: QueuedRequest) -> bool:
    return isinstance(queued.request, StepBatchRequest) and queued.request.may_be_resent()
