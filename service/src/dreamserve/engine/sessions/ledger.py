"""The sessions of this engine that are in a store: their leases, and what a turn did to them.

Without a store there is no ledger, and sessions are in memory alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from math import inf
from typing import NamedTuple

from dreamserve.engine.sessions.keys import SessionKey, stored_key
from dreamserve.store.base import new_epoch
from dreamserve_protocol.errors import ProblemError


@dataclass(slots=True, eq=False)
class Lease:
    """The ownership of one stored session, as long as the store confirms it.

    All but its name, `held` and `named_at_s` belongs to the committer. `lost`: a commit was not
    confirmed.
    The session's copy here must then be forgotten, and whatever was computed from it since.
    `in_doubt`: it may have been applied nevertheless, in an attempt whose reply was lost.
    """

    key: SessionKey
    epoch: int
    version: int = 0  # of the last commit
    is_stored: bool = False  # whether the store has confirmed the session
    lost: bool = False
    in_doubt: bool = False
    held: bool = True  # whether the session is here, and was not ended
    named_at_s: float = -inf  # by the engine's clock: when a request about it last began

    @property
    def stored_key(self) -> str:
        """Its key in the store."""
        return stored_key(self.key)


class StoredUse(NamedTuple):
    """What a turn did to a stored session."""

    lease: Lease
    record: bytes | None  # the new one; ENDED; None if it was only read
    renew: bool  # whether its time to live begins anew
    origin: Lease | None = None  # of the session that it is a fork of: without it, it is not stored


@dataclass(frozen=True, slots=True)
class Absence:
    """Why a session that was looked up cannot be used; `lease` owns its record, if there is one.

    `idle_s`: of a session that was taken over without a copy here, so that it can be ended.
    """

    error: ProblemError
    lease: Lease | None = None
    idle_s: float | None = None

    @property
    def can_end(self) -> bool:
        """Whether the session lives, and can be ended."""
        return self.idle_s is not None


@dataclass(slots=True, eq=False)
class Ledger:
    """Leases by key, and the changes since the last `drain`. Only the turn's thread uses it."""

    is_shared: bool = False  # whether other servers use the store, and can continue sessions
    leases: dict[SessionKey, Lease] = field(default_factory=dict)
    used: dict[SessionKey, bool] = field(default_factory=dict)  # in this turn; whether to renew
    origins: dict[SessionKey, Lease] = field(default_factory=dict)  # of this turn's forks
    ended: list[Lease] = field(default_factory=list)  # in this turn, on request
    absent: dict[SessionKey, Absence] = field(default_factory=dict)  # as looked up for this turn

    def use(self, key: SessionKey, renew: bool = True) -> None:
        """Note that a session was read or changed; `renew` its time to live."""
        self.used[key] = renew or self.used.get(key, False)

    def create(self, key: SessionKey, origin: SessionKey | None = None) -> None:
        """Note that a session was created; it replaces any stored one that this engine owns.

        `origin`: the session that it is a fork of.
        """
        if key not in self.leases:
            absence = self.absent.get(key)
            owned = absence and absence.lease
            self.leases[key] = owned or Lease(key, new_epoch())
            self.leases[key].held = True
        self.use(key)
        self.origins.pop(key, None)
        if origin is not None and origin != key:
            self.origins[key] = self.leases[origin]

    def end(self, key: SessionKey) -> None:
        """Note that a session was ended on request."""
        self.ended.append(self.forget(key))

    def end_without_copy(self, key: SessionKey, idle_s: float = 0.0) -> bool:
        """Note that a session without a copy here was ended on request.

        Return False, and do nothing, if there is none, or it was not idle for `idle_s`.
        """
        absence = self.absent.get(key)
        if absence is None or absence.lease is None or absence.idle_s is None:
            return False
        if absence.idle_s < idle_s:
            return False
        self.absent[key] = replace(absence, idle_s=None)
        absence.lease.held = False
        self.ended.append(absence.lease)
        return True

    def evictable(
        self, idle: Iterable[tuple[float, SessionKey]], moment_s: float, count: int
    ) -> list[SessionKey]:
        """Return at most `count` stored sessions that no request has named after `moment_s`.

        They are those of `idle`, (time of use, key), that were used first.
        """
        leases, used = self.leases, self.used
        unused = [
            (used_at_s, key)
            for used_at_s, key in idle
            if (lease := leases[key]).is_stored and lease.named_at_s <= moment_s and key not in used
        ]
        return [key for _, key in nsmallest(count, unused, lambda one: one[0])]

    def forget(self, key: SessionKey) -> Lease:
        """Give up a session, which remains in the store."""
        self.used.pop(key, None)
        self.origins.pop(key, None)
        lease = self.leases.pop(key)
        lease.held = False
        return lease
