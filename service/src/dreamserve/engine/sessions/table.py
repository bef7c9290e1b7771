"""Storage of sessions: a slab of slots for each world, and a table from ids to slots.

An idle session is a row of a slab and an entry in the table; it has no object of its own.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import inf

import numpy as np

from dreamserve.backends.base import Int64
from dreamserve.engine.sessions.kept import KeptBytes
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.slab import Slab
from dreamserve.engine.world import World
from dreamserve_protocol.errors import OverloadedError, SessionExpiredError, SessionNotFoundError

EXPIRED_REMEMBERED = 10_000
MAX_KEPT_STEPS = 100_000
SWEEP_S = 1.0  # interval of the search for expired sessions; `find` also checks the one requested
_SLOT_BITS = 32  # a place is a slab's number and a slot in it, in one integer


class Sessions:
    """The table of sessions. Only the thread of the current turn may use it."""

    def __init__(
        self,
        worlds: dict[str, World],
        capacity: int,
        ttl_s: float,
        sizes: Sequence[int],
        max_kept_steps: int,
        clock: Callable[[], float] = time.monotonic,
        max_plan_bytes: float = inf,
    ) -> None:
        self.capacity, self._ttl_s, self._clock = capacity, ttl_s, clock
        self._max_kept_steps = max_kept_steps
        self._now_s = self._swept_at_s = clock()
        plans = KeptBytes(max_plan_bytes)
        self._numbered = [Slab(i, w, capacity, sizes, plans) for i, w in enumerate(worlds.values())]
        self.slabs = {slab.world.name: slab for slab in self._numbered}
        # Ids to places. An integer each, so that idle sessions take little memory.
        self._table: dict[str, int] = {}
        self._expired: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._table

    def is_current(self, session: Session) -> bool:
        """Return whether the session still exists in the same slot."""
        return self._table.get(session.id) == session.slab.number << _SLOT_BITS | session.slot

    def refresh_now(self) -> None:
        """Read the clock, once per batch: every expiry check in the batch uses that time."""
        self._now_s = self._clock()
        if self._now_s - self._swept_at_s >= SWEEP_S:
            self.expire()

    def find(self, session_id: str, use: bool = True) -> Session:
        """Return the session; a use renews its time to live.

        Raises SessionNotFoundError, SessionExpiredError.
        """
        place = self._table.get(session_id)
        if place is None:
            raise self._absent(session_id)
        slab, slot = self._at(place)
        if self._now_s - slab.used_at_s[slot] > self._ttl_s:
            self._expire(session_id)
            raise self._absent(session_id)
        if use:
            slab.used_at_s[slot] = self._now_s
        return Session(session_id, slab, slot)

    def find_all(self, session_ids: Sequence[str], world: World) -> Int64 | None:
        """Return the slots (B,) of sessions, as used now; None unless all exist in `world`.

        This is the fast path for many sessions. After None, call `find` for each one's error.
        """
        slab = self.slabs[world.name]
        try:
            places = np.array(list(map(self._table.__getitem__, session_ids)), np.int64)
        except KeyError:
            return None
        slots = places & ((1 << _SLOT_BITS) - 1)
        if len(self._numbered) > 1 and (places >> _SLOT_BITS != slab.number).any():
            return None
        if self._now_s - slab.used_at_s[slots].min() > self._ttl_s:
            return None
        slab.used_at_s[slots] = self._now_s
        return slots

    def _at(self, place: int) -> tuple[Slab, int]:
        return self._numbered[place >> _SLOT_BITS], place & ((1 << _SLOT_BITS) - 1)

    def _absent(self, session_id: str) -> SessionNotFoundError | SessionExpiredError:
        if session_id in self._expired:
            return SessionExpiredError(
                f"session {session_id} was idle for over {self._ttl_s:g} s; POST /reset starts over"
            )
        return SessionNotFoundError(f"no session {session_id}; POST /reset begins one")

    def idle_s(self, session: Session) -> float:
        """Return the seconds since the session was last used."""
        return self._now_s - float(session.slab.used_at_s[session.slot])

    def unused_s(self) -> float:
        """Return the seconds since any session was last used; infinite without one."""
        return self._clock() - max(slab.last_used_s() for slab in self._numbered)

    def check_room(self, *session_ids: str, window: int = 0) -> None:
        """Raise OverloadedError unless there is room for all of these different sessions.

        Each of them will keep up to `window` steps for rewinding.
        """
        if self._full(session_ids, window):
            self.expire()
            if reason := self._full(session_ids, window):
                raise OverloadedError(reason)

    def _full(self, session_ids: Sequence[str], window: int) -> str | None:
        """Return why there is no room, or None."""
        new = sum(session_id not in self._table for session_id in session_ids)
        if len(self._table) + new > self.capacity:
            return (
                f"{len(self._table)} of {self.capacity} sessions are in use;"
                " DELETE some, or try again later"
            )
        if (
            window
            and self._kept_steps(session_ids) + len(session_ids) * window > self._max_kept_steps
        ):
            return (
                f"all sessions together may keep {self._max_kept_steps} steps for rewinding, and"
                f" {self._kept_steps()} are in use; request a shorter rewind_window"
            )
        return None

    def _kept_steps(self, without: Sequence[str] = ()) -> int:
        """Return the number of steps that all sessions except `without` may keep."""
        places = [self._at(self._table[name]) for name in without if name in self._table]
        excluded = sum(slab.windows.length(slot) for slab, slot in places)
        return sum(slab.windows.reserved for slab in self._numbered) - excluded

    def create(self, session_id: str, world: World, window: int = 0) -> Session:
        """Create a session, which replaces any session with that id, and return it.

        It keeps up to `window` steps for rewinding. Raises OverloadedError when full: live sessions
        are never evicted.
        """
        self.check_room(session_id, window=window)
        if session_id in self._table:
            self.remove(session_id)
        self._expired.pop(session_id, None)
        slab = self.slabs[world.name]
        slot = slab.allocate(session_id)
        self._table[session_id] = slab.number << _SLOT_BITS | slot
        slab.windows.open(slot, window)
        slab.used_at_s[slot] = self._now_s
        return Session(session_id, slab, slot)

    def remove(self, session_id: str) -> None:
        """End a session that exists."""
        slab, slot = self._at(self._table.pop(session_id))
        slab.free(slot)

    def expire(self) -> None:
        """End the sessions that were idle for too long."""
        self._swept_at_s = self._now_s
        for slab in self.slabs.values():
            for session_id in slab.idle_since(self._now_s - self._ttl_s):
                self._expire(session_id)

    def _expire(self, session_id: str) -> None:
        """End a session, and remember its id as expired."""
        self.remove(session_id)
        self._expired[session_id] = None
        if len(self._expired) > EXPIRED_REMEMBERED:
            self._expired.popitem(last=False)
