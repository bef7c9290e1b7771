"""Requests about sessions that are not here: they wait until the store has been searched.

A session that is found is read first, and taken over if it can be used here: what cannot be used,
or finds no room, stays with its owner as it is. Meanwhile its room is reserved. What is only to be
ended is taken over without a copy. Several requests may wait for one session, and one for many.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from dreamserve.engine.durability.committer import Results
from dreamserve.engine.durability.needs import keys_of, needs_of, only_ends, replaces
from dreamserve.engine.scheduling.queued import QueuedRequest, Settled
from dreamserve.engine.sessions.keys import SessionKey, id_of, owner_of
from dreamserve.engine.sessions.ledger import Absence, Lease, Ledger
from dreamserve.engine.sessions.owned import no_session
from dreamserve.engine.sessions.records import SessionRecord
from dreamserve.engine.sessions.slab import Slab
from dreamserve.engine.sessions.stored import unpacked
from dreamserve.engine.sessions.table import SessionTable
from dreamserve.store.base import ENDED, Stored, Taken
from dreamserve_protocol.errors import (
    A_RESET,
    OverloadedError,
    ProblemError,
    SessionExpiredError,
    SessionMovedError,
    StoreUnavailableError,
)

ARRIVALS_AT_ONCE = 256  # sessions that one turn unpacks, in some 10 ms
# Versions by which the end of another server's session is later than what that one still commits.
AHEAD = 2**16

Ask = Callable[[Sequence[SessionKey]], None]


class Lookups:
    """The requests that wait. Except for `found`, the thread of the current turn uses it.

    `read` and `take` ask the store for sessions, and `found` gets what became of them.
    """

    def __init__(self, sessions: SessionTable, ledger: Ledger, read: Ask, take: Ask) -> None:
        self._sessions, self._ledger = sessions, ledger
        self._read, self._take = read, take
        self._waiting: dict[SessionKey, list[QueuedRequest]] = {}  # requests, by session
        # Why sessions that are being taken over get no copy here.
        self._refused: dict[SessionKey, ProblemError] = {}
        # What found no room in this turn, (owner, slab, rewind window): others alike find none.
        self._full: dict[tuple[str, int, int], OverloadedError] = {}
        self._arrived: deque[tuple[SessionKey, Stored | Taken | str | None, int]] = deque()
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
                if absent:
                    self._ledger.absent.update(absent)
                    leases += [one.lease for one in absent.values() if one.lease and one.can_end]
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
            self._read(new)
        return ready

    def resume(self, requests: Iterable[QueuedRequest]) -> None:
        """Let jobs go on with what was looked up for them."""
        self._ledger.absent.clear()
        for queued in requests:
            self._ledger.absent.update(needs_of(queued).absent)

    def arrive(self) -> tuple[list[QueuedRequest], list[Settled]]:
        """Use the sessions that were found, some in each turn.

        Return the requests that need not wait longer, and those whose sessions could not be looked
        up, with the error.
        """
        ready: list[QueuedRequest] = []
        failed: list[Settled] = []
        wanted: list[SessionKey] = []
        self._full.clear()
        for _ in range(min(len(self._arrived), ARRIVALS_AT_ONCE)):
            key, found, epoch = self._arrived.popleft()
            if isinstance(found, Stored) and self._wants(key, found):
                wanted.append(key)
                continue
            absence = self._used(key, found, epoch)
            for queued in self._waiting.pop(key, ()):
                needs = needs_of(queued)
                needs.awaited -= 1
                if absence is not None:
                    needs.absent[key] = absence
                if needs.awaited == 0:
                    self.parked -= 1
                    unknown = _unknown(queued)
                    if unknown is None:
                        ready.append(queued)
                    else:
                        failed.append((queued, unknown))
        if wanted:
            self._take(wanted)
        return ready, failed

    def empty(self) -> list[QueuedRequest]:
        """Remove and return the requests that wait for sessions."""
        parked = list(
            {id(one): one for waiting in self._waiting.values() for one in waiting}.values()
        )
        self._waiting.clear()
        self.parked = 0
        return parked

    def found(self, keys: Sequence[SessionKey], found: Results, epoch: int) -> None:
        """Note what a search or takeover has found, or why it failed, from any thread."""
        each = [found] * len(keys) if isinstance(found, str) else found
        self._arrived.extend((key, one, epoch) for key, one in zip(keys, each, strict=True))

    def _wants(self, key: SessionKey, stored: Stored) -> bool:
        """Return whether to take a session over; without a copy if `_refused` says why.

        Its copy here has room then. Otherwise `_refused` says why it stays where it is.
        """
        waiting = [queued.request for queued in self._waiting.get(key, ())]
        error = self._gone(key, stored)
        is_live = error is None
        if error is None:
            ends = all(map(only_ends, waiting))
            error = _being_ended(key) if ends else self._without_room(key, stored)
        if error is None:
            return True
        self._refused[key] = error
        if is_live and any(map(only_ends, waiting)):
            return True
        # The record of a session that is replaced must be owned.
        return any(map(replaces, waiting)) and not isinstance(error, OverloadedError)

    def _without_room(self, key: SessionKey, stored: Stored) -> ProblemError | None:
        """Reserve room for a session; return why it cannot be used here, if so."""
        try:
            slab, record = self._unpacked(key, stored)
        except ProblemError as error:
            return error
        alike = owner_of(key), slab.number, record.rewind_window
        if alike not in self._full:
            try:
                self._sessions.reserve(key, slab, record.rewind_window)
            except OverloadedError as error:
                self._full[alike] = error
        return self._full.get(alike)

    def _unpacked(self, key: SessionKey, found: Stored | Taken) -> tuple[Slab, SessionRecord]:
        """Return the session of a record, and the slab of its world. Raises SessionLostError."""
        return unpacked(self._sessions.numbered.values(), id_of(key), found.record)

    def _used(
        self, key: SessionKey, found: Stored | Taken | str | None, epoch: int
    ) -> Absence | None:
        """Continue a session that was taken over; return why it cannot be used, if so."""
        refused = self._refused.pop(key, None)
        if not isinstance(found, Taken):
            self._sessions.reserved.drop(key)
        if isinstance(found, str):
            unknown = f"session {id_of(key)} could not be looked up: {found}"
            return Absence(StoreUnavailableError(unknown))
        if not isinstance(found, Taken):
            return Absence(refused or no_session(id_of(key)))
        lease = Lease(key, epoch, found.version, is_stored=True, named_at_s=self._sessions.now_s)
        if found.left_with is not None:
            lease.epoch, lease.version = found.left_with, found.version + AHEAD
            refused = _without_store(key)
        if (gone := self._gone(key, found)) is not None:
            self._sessions.reserved.drop(key)
            return Absence(gone, lease)
        if refused is not None:
            self._sessions.reserved.drop(key)
            return Absence(refused, lease, found.idle_s)
        try:
            slab, record = self._unpacked(key, found)
            self._sessions.adopt(lease, slab, record, found.idle_s)
        except ProblemError as error:  # it has changed since it was read
            self._sessions.reserved.drop(key)
            return Absence(error, lease)
        return None

    def _gone(self, key: SessionKey, found: Stored | Taken) -> ProblemError | None:
        """Return the error of a session that has ended or expired."""
        if found.record == ENDED:
            return no_session(id_of(key))
        if found.idle_s > self._sessions.ttl_s:
            idle = f"session {id_of(key)} was idle too long; {A_RESET} starts over"
            return SessionExpiredError(idle)
        return None


def _being_ended(key: SessionKey) -> SessionMovedError:
    """Return the error of a request about a session that another one is about to end."""
    return SessionMovedError(f"session {id_of(key)} is being ended")


def _without_store(key: SessionKey) -> StoreUnavailableError:
    """Return the error of a request about a session that a full store cannot give away."""
    return StoreUnavailableError(
        f"the session store is full, so session {id_of(key)} stays with another server"
    )


def _unknown(queued: QueuedRequest) -> ProblemError | None:
    """Return the error if a session of the request could not be looked up."""
    ends = only_ends(queued.request)
    for absence in needs_of(queued).absent.values():
        if isinstance(absence.error, StoreUnavailableError) and not (ends and absence.can_end):
            return absence.error
    return None
