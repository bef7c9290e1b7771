"""Storage of all owners' sessions: a slab of slots for each world, and a table from keys to slots.

Handlers see the sessions of one owner only (`owned.Sessions`).

An idle session is a row of a slab and an entry in the table; it has no object of its own.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from math import inf
from os import getpid
from socket import gethostname

import numpy as np
import numpy.typing as npt

from dreamserve.engine.limits import UNRESTRICTED, Quota
from dreamserve.engine.sessions.kept import KeptBytes
from dreamserve.engine.sessions.keys import SessionKey, owner_of
from dreamserve.engine.sessions.ledger import Lease, Ledger
from dreamserve.engine.sessions.records import SessionRecord
from dreamserve.engine.sessions.reservations import Reservations
from dreamserve.engine.sessions.slab import Slab, WorldMeasures
from dreamserve.engine.sessions.world_slabs import WorldSlabs
from dreamserve.engine.world import World
from dreamserve_protocol.errors import OverloadedError

EXPIRED_REMEMBERED = 10_000
MAX_KEPT_BYTES = 2 * 2**30
IDLE_S = 60.0  # after this time without a use, a session is idle: a stored one may be evicted
SWEEP_S = 1.0  # interval of the search for expired sessions; `find` also checks the one requested
INSTANCE = f"{gethostname()}:{getpid()}"  # in Kubernetes, the pod's name
SLOT_BITS = 32  # a place is a slab's number and a slot in it, in one integer

Float64 = npt.NDArray[np.float64]


class SessionTable:
    """The table of sessions. Only the thread of the current turn may use it."""

    def __init__(
        self,
        worlds: dict[str, World],
        capacity: int,
        ttl_s: float,
        sizes: Sequence[int],
        max_kept_bytes: float,
        clock: Callable[[], float] = time.monotonic,
        ledger: Ledger | None = None,
        max_plan_bytes: float = inf,
        instance: str = INSTANCE,
    ) -> None:
        self.instance = instance  # what errors call this server
        self.ledger = ledger  # None without a store
        self.capacity, self.ttl_s, self._clock = capacity, ttl_s, clock
        self._max_kept_bytes = max_kept_bytes
        self.now_s = self._swept_at_s = clock()
        self._sizes, self._plans = sizes, KeptBytes(max_plan_bytes)
        self.measures: dict[str, WorldMeasures] = {}  # by the worlds' names
        self.worlds = WorldSlabs(self._make_slab)
        self.numbered, self.slab_of = self.worlds.numbered, self.worlds.of
        for world in worlds.values():
            self.worlds.add(world)
        # Keys to places. An integer each, so that idle sessions take little memory.
        self.places: dict[SessionKey, int] = {}
        self.reserved = Reservations()  # for sessions that are being taken over
        self.counts = Counter[str]()  # of sessions by owner
        self.numbers: dict[str, int] = {}  # of the owners that have had a session
        self._serials = count(1)  # of the sessions, in the order in which they came
        self.quotas: Mapping[str, Quota] = {}  # by owner
        self.draining = False  # whether the server is shutting down
        self._expired: OrderedDict[SessionKey, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.places)

    def _make_slab(self, number: int, world: World) -> Slab:
        stored, measures = self.ledger is not None, self.measures.get(world.name, WorldMeasures())
        slab = Slab(number, world, self.capacity, self._sizes, self._plans, stored, measures)
        self.measures[world.name] = measures
        return slab

    @property
    def refuses_new(self) -> bool:
        """Whether new sessions are refused, as they would end with the server."""
        return self.draining and not (self.ledger is not None and self.ledger.is_shared)

    def quota(self, owner: str) -> Quota:
        """Return the quota of this owner."""
        return self.quotas.get(owner, UNRESTRICTED)

    def refresh_now(self) -> None:
        """Read the clock, once per batch: every expiry check in the batch uses that time."""
        self.now_s = self._clock()
        if self.now_s - self._swept_at_s >= SWEEP_S:
            self.expire_idle()

    def at(self, place: int) -> tuple[Slab, int]:
        """Return the slab and the slot of a place."""
        return self.numbered[place >> SLOT_BITS], place & ((1 << SLOT_BITS) - 1)

    def world_of(self, key: SessionKey) -> str | None:
        """Return the name of the world of a session, None if there is no such session."""
        place = self.places.get(key)
        return None if place is None else self.at(place)[0].world.name

    def holds(self, key: SessionKey) -> bool:
        """Return whether a stored session is here; forget a copy that is outdated."""
        place, ledger = self.places.get(key), self.ledger
        if place is None or ledger is None:
            return False
        slab, slot = self.at(place)
        if ledger.leases[key].lost or self.now_s - slab.used_at_s[slot] > self.ttl_s:
            self.expire(key)
            return False
        return True

    def has_expired(self, key: SessionKey) -> bool:
        """Return whether this session is remembered as expired."""
        return key in self._expired

    def check_room(self, owner: str, keys: Sequence[SessionKey], world: World, window: int) -> None:
        """Raise OverloadedError unless there is room for all of these sessions of `owner`.

        They are different, of one world, and each will keep up to `window` steps for rewinding.
        Idle copies of stored sessions make room.
        """
        kept_bytes = window * self.slab_of(world).kept_step_bytes
        if self._full(owner, keys, kept_bytes):
            self.expire_idle()
            self._evict_for(keys)
            if error := self._full(owner, keys, kept_bytes):
                raise error

    def _full(
        self, owner: str, keys: Sequence[SessionKey], kept_bytes: int
    ) -> OverloadedError | None:
        """Return the error if there is no room; `kept_bytes` are those of each rewind window."""
        new, taken = self._new(keys), len(self.places) + len(self.reserved)
        if taken + new > self.capacity:
            return self._crowded(f"{taken} of {self.capacity} sessions", None)
        owned = self.counts[owner] + self.reserved.counts[owner]
        if new and owned + new > (most := self.quota(owner).sessions):
            return self._crowded(f"{owned} of the {most:g} sessions of your quota", owner)
        if kept_bytes and self._kept(keys) + len(keys) * kept_bytes > self._max_kept_bytes:
            return OverloadedError(
                f"all sessions together may keep {self._max_kept_bytes} bytes of steps for"
                f" rewinding, and {self.kept_bytes} are in use; request a shorter rewind_window:"
                f" {len(keys)} of this length need {len(keys) * kept_bytes}"
            )
        return None

    def _new(self, keys: Sequence[SessionKey]) -> int:
        return sum(key not in self.places for key in keys)

    def _crowded(self, what: str, owner: str | None) -> OverloadedError:
        """Return the error for sessions that are all in use, those of `owner` or all."""
        used_at_s = self.used_at_s(owner)
        idle = int((used_at_s < self.now_s - IDLE_S).sum())
        wait_s = max(0.0, float(used_at_s.min(initial=inf)) + self.ttl_s - self.now_s)
        event = "expire"
        if self.ledger is not None and owner is None and wait_s < inf:
            # One that is idle already and is here nevertheless is named by requests.
            rest_s = used_at_s + IDLE_S - self.now_s
            room_s = float(rest_s[rest_s > 0].min(initial=IDLE_S))
            event, wait_s = min((event, wait_s), ("make room", room_s), key=lambda one: one[1])
        error = OverloadedError(
            f"{what} are in use, {idle} of them idle for over {IDLE_S:g} s; the next may {event} in"
            f" {wait_s:.0f} s; end some: GET /sessions lists yours, POST /delete/idle ends them"
        )
        error.retry_after_s = max(1.0, wait_s) if wait_s < inf else None
        return error

    def unused_s(self) -> float:
        """Return the seconds since any session was last used; infinite without one."""
        return self._clock() - max(slab.last_used_s() for slab in self.numbered.copy().values())

    def used_at_s(self, owner: str | None) -> Float64:
        """Return when sessions were used last (B,): those of `owner`, or all if it is None."""
        number = None if owner is None else self.numbers.get(owner, -1)
        return np.concatenate(
            [slab.used_at_s[slab.idle_since(self.now_s, number)] for slab in self.numbered.values()]
        )

    @property
    def kept_bytes(self) -> int:
        """The most bytes that the rewind windows of all sessions take."""
        slabs = self.numbered.copy().values()
        return sum(slab.windows.reserved * slab.kept_step_bytes for slab in slabs)

    def _kept(self, without: Sequence[SessionKey]) -> int:
        """Return the most bytes of the rewind windows of all sessions except `without`."""
        places = [self.at(self.places[key]) for key in without if key in self.places]
        excluded = sum(slab.windows.length(slot) * slab.kept_step_bytes for slab, slot in places)
        return self.kept_bytes + self.reserved.kept_bytes - excluded

    def create(
        self, key: SessionKey, world: World, window: int, origin: SessionKey | None = None
    ) -> tuple[Slab, int]:
        """Create a session, which replaces any session with that key; return its slab and slot.

        There must be room (`check_room`). `origin`: the session that it is a fork of.
        """
        created = self._place(key, self.slab_of(world), window)
        created[0].measures.created += 1
        if self.ledger is not None:
            self.ledger.create(key, origin)
        return created

    def reserve(self, key: SessionKey, slab: Slab, window: int) -> None:
        """Keep room for a session that is about to be taken over. Raises OverloadedError."""
        self.check_room(owner_of(key), [key], slab.world, window)
        self.reserved.add(key, window * slab.kept_step_bytes)

    def adopt(self, lease: Lease, slab: Slab, record: SessionRecord, idle_s: float) -> None:
        """Continue a session that was taken over from the store, in the room reserved for it.

        Raises OverloadedError if the room does not suffice, as it has changed meanwhile.
        """
        key, window = lease.key, record.rewind_window
        self.reserved.drop(key)
        self.check_room(owner_of(key), [key], slab.world, window)
        _, slot = self._place(key, slab, window)
        slab.measures.taken_over += 1
        slab.restore(slot, record, record.seed)
        slab.used_at_s[slot] -= idle_s
        slab.changed.discard(slot)
        if self.ledger is not None:
            self.ledger.leases[key] = lease

    def _place(self, key: SessionKey, slab: Slab, window: int) -> tuple[Slab, int]:
        """Allocate a slot to a session, instead of any that it has; it keeps its serial number."""
        if (place := self.places.get(key)) is None:
            serial = next(self._serials)
        else:
            before, slot = self.at(place)
            serial = int(before.serial[slot])
            self._free(key).measures.deleted += 1
        self._expired.pop(key, None)
        slot = slab.allocate(key)
        self.places[key] = slab.number << SLOT_BITS | slot
        owner = owner_of(key)
        self.counts[owner] += 1
        slab.owner[slot] = self.numbers.setdefault(owner, len(self.numbers))
        slab.serial[slot] = serial
        slab.windows.open(slot, window)
        slab.used_at_s[slot] = slab.created_at_s[slot] = self.now_s
        return slab, slot

    def remove(self, key: SessionKey) -> None:
        """End a session that exists."""
        self._free(key).measures.deleted += 1
        if self.ledger is not None:
            self.ledger.end(key)

    def _free(self, key: SessionKey) -> Slab:
        """Free a session's slot; return its slab."""
        slab, slot = self.at(self.places.pop(key))
        slab.free(slot)
        owner = owner_of(key)
        self.counts[owner] -= 1
        if not self.counts[owner]:
            del self.counts[owner]
        return slab

    def _evict_for(self, keys: Sequence[SessionKey]) -> None:
        """Forget idle copies of stored sessions, to make room for `keys`.

        The next request about one of them takes it over, as if from another server.
        """
        excess = len(self.places) + len(self.reserved) + self._new(keys) - self.capacity
        if self.ledger is None or excess <= 0:
            return
        moment_s = self.now_s - IDLE_S
        idle = [
            (float(slab.used_at_s[slot]), slab.holder(slot))
            for slab in self.numbered.values()
            if slab.world not in self.worlds.retired  # which is freed with its last one
            for slot in slab.idle_since(moment_s).tolist()
        ]
        for key in self.ledger.evictable(idle, moment_s, excess):
            slab, slot = self.at(self.places[key])
            expires_s = float(slab.used_at_s[slot]) + self.ttl_s
            self.worlds.left_in_store(slab.world.title, expires_s)
            self._free(key).measures.evicted += 1
            self.ledger.forget(key)

    def expire_idle(self) -> None:
        """End the sessions that were idle for too long."""
        self._swept_at_s = self.now_s
        for slab in self.numbered.values():
            idle_for_longer = np.nextafter(self.now_s - self.ttl_s, -np.inf)
            for slot in slab.idle_since(idle_for_longer).tolist():
                self.expire(slab.holder(slot))
        self.worlds.free_retired(self.now_s)

    def expire(self, key: SessionKey) -> None:
        """End a session, and remember its key as expired; a stored one is only forgotten here."""
        slab = self._free(key)
        if self.ledger is not None:
            lost = self.ledger.forget(key).lost
            slab.measures.lost += lost
            slab.measures.expired += not lost
            return
        slab.measures.expired += 1
        self._expired[key] = None
        if len(self._expired) > EXPIRED_REMEMBERED:
            self._expired.popitem(last=False)
