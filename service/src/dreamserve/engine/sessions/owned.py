"""The sessions of one owner: all that the handler of a request of that owner can reach."""

from collections.abc import Sequence
from copy import copy
from math import inf

import numpy as np

from dreamserve.backends.base import Int64
from dreamserve.engine.dynamics import Work
from dreamserve.engine.sessions.keys import SessionKey, key_of
from dreamserve.engine.sessions.listing import Page, delete_idle, page_of
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.table import SLOT_BITS, SessionTable
from dreamserve.engine.world import World
from dreamserve_protocol.errors import (
    A_RESET,
    DrainingError,
    OverloadedError,
    ProblemError,
    SessionExpiredError,
    SessionMovedError,
    SessionNotFoundError,
)

_DRAINING = "the server is shutting down and takes no new sessions"


class Sessions:
    """A view of the table of sessions: those of `owner`, by the ids that their owner gave them.

    Sessions of other owners do not exist here, except that they take room.
    """

    def __init__(self, table: SessionTable, owner: str = "") -> None:
        self._table, self._places = table, table.places
        self._owner = owner
        self.slab_of = table.slab_of

    def __len__(self) -> int:
        return self._table.counts[self._owner]

    def __contains__(self, session_id: str) -> bool:
        return key_of(self._owner, session_id) in self._places

    def is_current(self, session: Session) -> bool:
        """Return whether the session still exists in the same slot."""
        place = self._places.get(key_of(self._owner, session.id))
        return place == session.slab.number << SLOT_BITS | session.slot

    def find(self, session_id: str, use: bool = True) -> Session:
        """Return the session; a use renews its time to live.

        Raises SessionNotFoundError, SessionExpiredError.
        """
        key = (self._owner, session_id) if self._owner else session_id  # `key_of`, inlined
        table, place = self._table, self._places.get(key)
        if place is None:
            raise self._absent(session_id)
        slab, slot = table.at(place)
        if table.now_s - slab.used_at_s[slot] > table.ttl_s:
            table.expire(key)
            raise self._absent(session_id)
        if use:
            slab.used_at_s[slot] = table.now_s
        if table.ledger is not None:
            table.ledger.use(key, renew=use)
        return Session(session_id, slab, slot)

    def find_all(self, session_ids: Sequence[str], world: World) -> Int64 | None:
        """Return the slots (B,) of sessions, as used now; None unless all exist in `world`.

        This is the fast path for many sessions. After None, call `find` for each one's error.
        """
        table, slab = self._table, self._table.slab_of(world)
        try:
            places = np.array(
                list(map(self._places.__getitem__, self._keys(session_ids))), np.int64
            )
        except KeyError:
            return None
        slots = places & ((1 << SLOT_BITS) - 1)
        if len(table.numbered) > 1 and (places >> SLOT_BITS != slab.number).any():
            return None
        if table.now_s - slab.used_at_s[slots].min() > table.ttl_s:
            return None
        slab.used_at_s[slots] = table.now_s
        if table.ledger is not None:
            for key in self._keys(session_ids):
                table.ledger.use(key)
        return slots

    def _keys(self, session_ids: Sequence[str]) -> Sequence[SessionKey]:
        owner = self._owner
        return [(owner, session_id) for session_id in session_ids] if owner else session_ids

    def _absent(self, session_id: str) -> ProblemError:
        ledger = self._table.ledger
        if ledger is not None:
            absence = ledger.absent.get(key_of(self._owner, session_id))
            if absence is None:  # it was here when the request began
                return SessionMovedError(f"session {session_id} is no longer on this replica")
            return copy(absence.error)
        if self._table.has_expired(key_of(self._owner, session_id)):
            idle = f"idle for over {self._table.ttl_s:g} s"
            return SessionExpiredError(f"session {session_id} was {idle}; {A_RESET} starts over")
        return _not_here(session_id, self._table.instance)

    def idle_s(self, session: Session) -> float:
        """Return the seconds since the session was last used."""
        return self._table.now_s - float(session.slab.used_at_s[session.slot])

    def check_admission(self, *session_ids: str) -> None:
        """Raise DrainingError if any of these sessions is new, and would end with the server."""
        if self._table.refuses_new and not all(session_id in self for session_id in session_ids):
            raise DrainingError(_DRAINING)

    def check_admission_of_some(self, session_ids: Sequence[str]) -> None:
        """Raise DrainingError if all of these sessions are new, and would end with the server."""
        if self._table.refuses_new and not any(session_id in self for session_id in session_ids):
            raise DrainingError(_DRAINING)

    def check_room(self, world: World, *session_ids: str, window: int = 0) -> None:
        """Raise OverloadedError unless there is room for all of these different sessions.

        Each of them will keep up to `window` steps of `world` for rewinding. There is none for one
        that lives elsewhere and could not be taken over.
        """
        ledger = self._table.ledger
        if ledger is not None and ledger.absent:
            for key in self._keys(session_ids):
                absence = ledger.absent.get(key)
                if absence is not None and isinstance(absence.error, OverloadedError):
                    raise copy(absence.error)
        self._table.check_room(self._owner, self._keys(session_ids), world, window)

    def create(self, session_id: str, world: World, window: int = 0) -> Session:
        """Create a session, which replaces any session with that id, and return it.

        It keeps up to `window` steps for rewinding. Raises OverloadedError when full: live sessions
        are never evicted, except for idle copies of stored ones. The caller begins its dream.
        """
        return self.create_all([session_id], world, window)[0]

    def create_all(
        self,
        session_ids: Sequence[str],
        world: World,
        window: int = 0,
        origin: str | None = None,
    ) -> list[Session]:
        """Create different sessions as `create` does: all of them, or none if there is no room.

        `origin` is the id of the session that they are forks of.
        """
        self.check_room(world, *session_ids, window=window)
        table, origin_key = self._table, None if origin is None else key_of(self._owner, origin)
        return [
            Session(session_id, *table.create(key, world, window, origin_key))
            for session_id, key in zip(session_ids, self._keys(session_ids), strict=True)
        ]

    @property
    def quota(self) -> int | None:
        """Maximum number of sessions, if there is a quota."""
        most = self._table.quota(self._owner).sessions
        return None if most == inf else int(most)

    def page(self, idle_s: float, after: int, limit: int) -> Page:
        """Return at most `limit` sessions idle for `idle_s`, of serials from `after` on."""
        return page_of(self._table, idle_s, after, limit, self._owner)

    def delete_idle(self, idle_s: float) -> Work[int]:
        """End the sessions idle for `idle_s`; return their number."""
        return delete_idle(self._table, idle_s, self._owner)

    def end(self, session_id: str) -> None:
        """End a session. Raises SessionNotFoundError, SessionExpiredError."""
        key, ledger = key_of(self._owner, session_id), self._table.ledger
        if key in self._places or ledger is None or not ledger.end_without_copy(key):
            self.find(session_id, use=False)
            self._table.remove(key)


def no_session(session_id: str) -> SessionNotFoundError:
    """Return the error for a session that is unknown, or was ended."""
    return SessionNotFoundError(f"no session {session_id}; {A_RESET} begins one")


def _not_here(session_id: str, instance: str) -> SessionNotFoundError:
    """Return the error for a session that is not in this server's memory, without a store."""
    return SessionNotFoundError(
        f"no session {session_id} on server {instance}: it was ended, the server was restarted,"
        f" or a load balancer did not send the request where the session lives; {A_RESET} begins"
        " one"
    )
