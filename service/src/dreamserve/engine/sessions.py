"""Where sessions live: a slab of slots for each world, and a table from ids to slots.

A session at rest is its row of the slab and an entry in the table. Its numbers are reached by slot
only, so a batch is one gather and one scatter, and nothing here grows with the sessions at rest.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Actions, Array, Bools, Int64, Staged, State, UInt64
from dreamserve.backends.rows import make_rows
from dreamserve.engine.types import StepResult
from dreamserve.engine.world import World
from dreamserve.errors import OverloadedError, SessionExpiredError, SessionNotFoundError
from dreamserve.manifest import DiscreteSpace, WorldSpec

Content = tuple[Hashable, ...]

EXPIRED_REMEMBERED = 10_000
SWEEP_S = 1.0  # how often idle sessions are looked for; one that is asked for is found out at once
_FREE = np.inf  # the last use of a slot that nobody has


class Slab:
    """One world's sessions in columns: row i of every array belongs to slot i.

    Latents and recurrent states are the backend's to keep (`rows`); what a dream is counted by is
    here. The last step's action and reward are kept too: with the latent they are its answer.
    """

    def __init__(self, world: World, count: int, sizes: Sequence[int]) -> None:
        self.world = world
        self.rows = make_rows(world.spec, world.backend, count, sizes)
        self.seed = np.zeros(count, np.uint64)
        self.key = np.zeros(count, np.uint64)  # what the noise of every step follows from
        self.step = np.zeros(count, np.int64)
        self.temperature = np.zeros(count, np.float32)
        self.terminated = np.zeros(count, np.bool_)
        self.used_at_s = np.full(count, _FREE)
        self.reward = np.zeros(count, np.float32)
        self.action: Actions = _no_actions(world.spec, count)
        self._holders: list[Session | None] = []  # by slot, as far as slots were ever used
        self._given_back: list[int] = []

    def hold(self, session_id: str) -> "Session":
        """Return a session of that id in a free slot: one given back before a fresh one."""
        if not self._given_back:
            self._given_back.append(len(self._holders))
            self._holders.append(None)
        slot = self._given_back.pop()
        session = self._holders[slot] = Session(session_id, self, slot)
        return session

    def give_back(self, slot: int) -> None:
        """Make `slot` free again."""
        self.used_at_s[slot], self._holders[slot] = _FREE, None
        self._given_back.append(slot)

    def begin(
        self, slots: Int64, latent: Array, state: State, seed: UInt64, temperature: Array
    ) -> None:
        """Write dreams at their step 0: latent (B, Z), state (B, *shape) each."""
        self.rows.write(slots, latent, state)
        self.seed[slots], self.step[slots] = seed, 0
        self.key[slots] = noise.stream_keys(seed, noise.STEP)
        self.temperature[slots], self.terminated[slots] = temperature, False

    def commit(
        self,
        slots: Int64,
        number: Int64,
        actions: Actions,
        staged: Staged,
        good: Bools,
        terminated: Bools,
        latent: Array | None = None,
    ) -> None:
        """Write the dreams of `slots` (B,), all different, at step `number` where `good` (B,)."""
        self.rows.commit(slots, staged, good, latent)
        reward = staged.reward
        if not good.all():
            slots, number, actions = slots[good], number[good], actions[good]
            reward, terminated = reward[good], terminated[good]
        self.step[slots] = number
        self.action[slots], self.reward[slots] = actions, reward
        self.terminated[slots] = terminated

    def idle_since(self, moment_s: float) -> list["Session"]:
        """Return the sessions that were last used before `moment_s`."""
        idle = np.flatnonzero(self.used_at_s[: len(self._holders)] < moment_s)
        holders = (self._holders[slot] for slot in idle)
        return [session for session in holders if session is not None]


def _no_actions(spec: WorldSpec, count: int) -> Actions:
    if isinstance(spec.action_space, DiscreteSpace):
        return np.zeros(count, np.int64)
    return np.zeros((count, *spec.action_space.shape), np.float32)


@dataclass(slots=True, eq=False)
class Session:
    """One dream: where its numbers are, and its last answer where that says more than they do."""

    id: str
    slab: Slab
    slot: int
    last: StepResult | None = None  # None: the slab's row is all that was answered
    last_content: Content = ()  # what was asked beyond the action, if `last` is kept

    @property
    def world(self) -> World:
        """The world it is dreamt in."""
        return self.slab.world

    @property
    def step(self) -> int:
        """The number of the last step taken."""
        return int(self.slab.step[self.slot])

    def row(self) -> tuple[Array, State]:
        """Return copies of latent (1, Z) and state (1, *shape) each."""
        return self.slab.rows.read(self.slot)


class Sessions:
    """The table of sessions. Belongs to whoever runs the engine's turn."""

    def __init__(
        self,
        worlds: dict[str, World],
        capacity: int,
        ttl_s: float,
        sizes: Sequence[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity, self._ttl_s, self._clock = capacity, ttl_s, clock
        self._now_s = self._swept_at_s = clock()
        self.slabs = {name: Slab(world, capacity, sizes) for name, world in worlds.items()}
        self._table: dict[str, Session] = {}
        self._expired: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def look_at_the_clock(self) -> None:
        """Let it be now; until the next time, now is now. Once a batch."""
        self._now_s = self._clock()
        if self._now_s - self._swept_at_s >= SWEEP_S:
            self.expire()

    def find(self, session_id: str, use: bool = True) -> Session:
        """Return the session, its time to live begun anew if this is a use.

        Raises SessionNotFoundError, SessionExpiredError.
        """
        session = self._table.get(session_id)
        if session is None:
            raise self._absent(session_id)
        used_at_s = session.slab.used_at_s
        if self._now_s - used_at_s[session.slot] > self._ttl_s:
            self._expire(session)
            raise self._absent(session_id)
        if use:
            used_at_s[session.slot] = self._now_s
        return session

    def find_all(self, session_ids: Sequence[str], world: World) -> list[Session]:
        """Return the sessions, all used now, if all are there and of `world`; else none of them.

        The quick way for many: whoever gets none asks for each to learn what is wrong.
        """
        slab, found = self.slabs[world.name], []
        for session in map(self._table.get, session_ids):
            if session is None or session.slab is not slab:
                return []
            found.append(session)
        slots = [session.slot for session in found]
        if self._now_s - slab.used_at_s[slots].min() > self._ttl_s:
            return []
        slab.used_at_s[slots] = self._now_s
        return found

    def _absent(self, session_id: str) -> SessionNotFoundError | SessionExpiredError:
        if session_id in self._expired:
            return SessionExpiredError(
                f"session {session_id} was idle for over {self._ttl_s:g} s; POST /reset again"
            )
        return SessionNotFoundError(f"no session {session_id}; POST /reset makes one")

    def idle_s(self, session: Session) -> float:
        """Return how long ago the session was last used."""
        return self._now_s - float(session.slab.used_at_s[session.slot])

    def check_room(self, session_id: str) -> None:
        """Raise OverloadedError if `put` would."""
        if session_id in self._table or len(self._table) < self.capacity:
            return
        self.expire()
        if len(self._table) >= self.capacity:
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
        session = self._table[session_id] = self.slabs[world.name].hold(session_id)
        session.slab.used_at_s[session.slot] = self._now_s
        return session

    def remove(self, session_id: str) -> None:
        """End a session that is there."""
        session = self._table.pop(session_id)
        session.slab.give_back(session.slot)

    def expire(self) -> None:
        """End the sessions that were idle for too long."""
        self._swept_at_s = self._now_s
        for slab in self.slabs.values():
            for session in slab.idle_since(self._now_s - self._ttl_s):
                self._expire(session)

    def _expire(self, session: Session) -> None:
        """End it, and remember that it was there."""
        self.remove(session.id)
        self._expired[session.id] = None
        if len(self._expired) > EXPIRED_REMEMBERED:
            self._expired.popitem(last=False)


def slab_bytes(spec: WorldSpec) -> int:
    """Return the bytes of one session's slab row."""
    # seed, key, step, temperature, terminated, used_at_s, reward
    bookkeeping = 8 + 8 + 8 + 4 + 1 + 8 + 4 + _no_actions(spec, 1).nbytes
    return spec.state_bytes() + bookkeeping
