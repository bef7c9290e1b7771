"""Requests about sessions that are not here: they wait until the store has been searched.

A session that is found is taken over. Several requests may wait for one session, and one for many.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from dreamserve.engine.durability.needs import keys_of, needs_of
from dreamserve.engine.scheduling.queued import QueuedRequest, Settled, StoreNeeds
from dreamserve.engine.sessions.keys import SessionKey, id_of
from dreamserve.engine.sessions.ledger import Absence, Lease, Ledger
from dreamserve.engine.sessions.owned import no_session
from dreamserve.engine.sessions.stored import unpacked
from dreamserve.engine.sessions.table import SessionTable
from dreamserve.store.base import ENDED, Taken
from dreamserve_protocol.errors import (
    A_RESET,
    ProblemError,
    SessionExpiredError,
    StoreUnavailableError,
)


class Lookups:
    """The requests that wait. Except for `found`, the thread of the current turn uses it."""

    def __init__(
        self,
        sessions: SessionTable,
        ledger: Ledger,
        look_up: Callable[[Sequence[SessionKey]], None],
    ) -> None:
        self._sessions, self._ledger, self._look_up = sessions, ledger, look_up
        self._waiting: dict[SessionKey, list[QueuedRequest]] = {}  # requests, by session
        self._arrived: deque[tuple[SessionKey, Taken | str | None, int]] = deque()
        self.parked = 0  # requests that wait

    @property
    def has_arrivals(self) -> bool:
        """Whether `arrive` has something to do."""
        return bool(self._arrived)

    def ready(self, requests: Sequence[QueuedRequest]) -> list[QueuedRequest]:
        """Return the requests whose sessions are here, or nowhere; look up those of the others."""
        self._ledger.absent.clear()
        ready, new = [], []
        for queued in requests:
            named, needs = keys_of(queued, queued.request), needs_of(queued)
            holds, absent = self._sessions.holds, needs.absent
            missing = [key for key in named if not holds(key) and key not in absent]
            leases = [lease for key in named if (lease := self._ledger.leases.get(key))]
            for lease in leases:
                lease.named_at_s = self._sessions.now_s
            if not missing:
                self._ledger.absent.update(absent)
                needs.leases = leases
                ready.append(queued)
                continue
            needs.awaited = len(missing)
            self.parked += 1
            for key in missing:
                if key not in self._waiting:
                    new.append(key)
                self._waiting.setdefault(key, []).append(queued)
        if new:
            self._look_up(new)
        return ready

    def resume(self, requests: Iterable[QueuedRequest]) -> None:
        """Let jobs go on with what was looked up for them."""
        self._ledger.absent.clear()
        for queued in requests:
            self._ledger.absent.update(needs_of(queued).absent)

    def arrive(self) -> tuple[list[QueuedRequest], list[Settled]]:
        """Take over the sessions that were found; return the requests that need not wait longer.

        Also return the requests whose sessions could not be looked up, with the error.
        """
        ready: list[QueuedRequest] = []
        failed: list[Settled] = []
        while self._arrived:
            key, found, epoch = self._arrived.popleft()
            absence = self._adopt(key, found, epoch)
            for queued in self._waiting.pop(key, ()):
                needs = needs_of(queued)
                needs.awaited -= 1
                if absence is not None:
                    needs.absent[key] = absence
                if needs.awaited == 0:
                    self.parked -= 1
                    unknown = _unknown(needs)
                    if unknown is None:
                        ready.append(queued)
                    else:
                        failed.append((queued, unknown))
        return ready, failed

    def empty(self) -> list[QueuedRequest]:
        """Remove and return the requests that wait for sessions."""
        parked = list(
            {id(one): one for waiting in self._waiting.values() for one in waiting}.values()
        )
        self._waiting.clear()
        self.parked = 0
        return parked

    def found(
        self, keys: Sequence[SessionKey], found: Sequence[Taken | None] | str, epoch: int
    ) -> None:
        """Note what a search has found, or why it failed, from any thread."""
        each = [found] * len(keys) if isinstance(found, str) else found
        self._arrived.extend((key, one, epoch) for key, one in zip(keys, each, strict=True))

    def _adopt(self, key: SessionKey, found: Taken | str | None, epoch: int) -> Absence | None:
        """Take a session over; return why it cannot be used, if so."""
        session_id = id_of(key)
        if isinstance(found, str):
            unknown = f"session {session_id} could not be looked up: {found}"
            return Absence(StoreUnavailableError(unknown))
        if found is None:
            return Absence(no_session(session_id))
        lease = Lease(key, epoch, found.version, is_stored=True, named_at_s=self._sessions.now_s)
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


def _unknown(needs: StoreNeeds) -> ProblemError | None:
    """Return the error if a session of the request could not be looked up."""
    errors = (absence.error for absence in needs.absent.values())
    return next((error for error in errors if isinstance(error, StoreUnavailableError)), None)
