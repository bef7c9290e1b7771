"""Where sessions live: a slab of slots for each world, and a table from ids to slots.

A session at rest is its slab row, an entry in the table and its last answer, nothing else. Its
numbers are reached by slot only, so a batch is one gather and one scatter.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dreamserve.backends.base import Array
from dreamserve.engine.runner import State
from dreamserve.engine.types import StepResult
from dreamserve.engine.world import World
from dreamserve.errors import OverloadedError, SessionExpiredError, SessionNotFoundError
from dreamserve.manifest import WorldSpec

Slots = npt.NDArray[np.int64]
Content = tuple[Hashable, ...]

EXPIRED_REMEMBERED = 10_000


class Slab:
    """The state of one world's sessions: row i of every array belongs to slot i.

    The rows are reserved at once, and untouched rows cost no memory yet.
    """

    def __init__(self, spec: WorldSpec, rows: int) -> None:
        self.latent: Array = np.zeros((rows, spec.latent_size), np.float32)
        self.state: State = tuple(
            np.zeros((rows, *tensor.shape), np.float32) for tensor in spec.recurrent_state
        )
        self.seed = np.zeros(rows, np.uint64)
        self.step = np.zeros(rows, np.int64)
        self.temperature = np.zeros(rows, np.float32)
        self.terminated = np.zeros(rows, np.bool_)
        self.used_at_s = np.zeros(rows, np.float64)
        self._rows, self._used, self._free = rows, 0, list[int]()

    def take(self) -> int:
        """Return a free slot: one given back before a fresh one."""
        if self._free:
            return self._free.pop()
        self._used += 1
        return self._used - 1

    def give_back(self, slot: int) -> None:
        """Make `slot` free again."""
        self._free.append(slot)

    def begin(self, slot: int, latent: Array, state: State, seed: int, temperature: float) -> None:
        """Write a dream at its step 0; latent (1, Z), state (1, *shape) each."""
        self.latent[slot] = latent[0]
        for rows, row in zip(self.state, state, strict=True):
            rows[slot] = row[0]
        self.seed[slot], self.step[slot] = seed, 0
        self.temperature[slot], self.terminated[slot] = temperature, False

    def commit(
        self, slots: Slots, latent: Array, state: State, terminated: npt.NDArray[np.bool_]
    ) -> None:
        """Write dreams one step later; rows in the order of `slots` (B,), all different."""
        self.latent[slots] = latent
        for rows, new in zip(self.state, state, strict=True):
            rows[slots] = new
        self.step[slots] += 1
        self.terminated[slots] = terminated


@dataclass(slots=True, eq=False)
class Session:
    """One dream: where its numbers are, and its last answer."""

    id: str
    world: World
    slab: Slab
    slot: int
    last: StepResult | None = None
    last_content: Content = ()  # what the last step was asked with

    @property
    def step(self) -> int:
        """The number of the last step taken."""
        return int(self.slab.step[self.slot])

    def row(self) -> tuple[Array, State]:
        """Return copies of latent (1, Z) and state (1, *shape) each."""
        rows = slice(self.slot, self.slot + 1)
        return self.slab.latent[rows].copy(), tuple(part[rows].copy() for part in self.slab.state)


class Sessions:
    """The table of sessions, oldest use first. Belongs to the thread that runs the engine."""

    def __init__(
        self,
        worlds: dict[str, World],
        capacity: int,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity, self._ttl_s, self._clock = capacity, ttl_s, clock
        self._now_s = clock()
        self._slabs = {name: Slab(world.spec, capacity) for name, world in worlds.items()}
        self._table: OrderedDict[str, Session] = OrderedDict()
        self._expired: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def find(self, session_id: str, use: bool = True) -> Session:
        """Return the session, its time to live begun anew if this is a use.

        Raises SessionNotFoundError, SessionExpiredError.
        """
        session = self._table.get(session_id)
        if session is None:
            if session_id in self._expired:
                raise SessionExpiredError(
                    f"session {session_id} was idle for over {self._ttl_s:g} s; POST /reset again"
                )
            raise SessionNotFoundError(f"no session {session_id}; POST /reset makes one")
        if use:
            session.slab.used_at_s[session.slot] = self._now_s
            self._table.move_to_end(session_id)
        return session

    def idle_s(self, session: Session) -> float:
        """Return how long ago the session was last used."""
        return self._now_s - float(session.slab.used_at_s[session.slot])

    def check_room(self, session_id: str) -> None:
        """Raise OverloadedError if `put` would."""
        if session_id not in self._table and len(self._table) >= self.capacity:
            raise OverloadedError(
                f"all {self.capacity} sessions are in use; DELETE one, or try again later"
            )

    def put(self, session_id: str, world: World) -> Session:
        """Return a session of that id with a slot of its own, in place of any that had the id.

        Raises OverloadedError when full: live sessions are never evicted.
        """
        self.check_room(session_id)
        if session_id in self._table:
            self.remove(session_id)
        self._expired.pop(session_id, None)
        slab = self._slabs[world.name]
        session = self._table[session_id] = Session(session_id, world, slab, slab.take())
        slab.used_at_s[session.slot] = self._now_s
        return session

    def remove(self, session_id: str) -> None:
        """End a session that is there."""
        session = self._table.pop(session_id)
        session.slab.give_back(session.slot)

    def expire(self) -> None:
        """Look at the clock: end the sessions that were idle for too long, remembering their ids.

        Once a batch; until the next time, now is now.
        """
        self._now_s = self._clock()
        while self._table:
            session = next(iter(self._table.values()))
            if self.idle_s(session) <= self._ttl_s:
                return
            self.remove(session.id)
            self._expired[session.id] = None
            if len(self._expired) > EXPIRED_REMEMBERED:
                self._expired.popitem(last=False)


def slab_bytes(spec: WorldSpec) -> int:
    """Return the bytes of one session's slab row."""
    bookkeeping = 8 + 8 + 4 + 1 + 8  # seed, step, temperature, terminated, used_at_s
    return spec.state_bytes() + bookkeeping
