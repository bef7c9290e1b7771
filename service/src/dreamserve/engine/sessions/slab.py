"""One world's sessions in columns. A batch is one gather and one scatter by slot."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Actions, Array, Bools, Int64, Staged, State, UInt64
from dreamserve.backends.rows import make_rows
from dreamserve.engine.sessions.record import SessionRecord
from dreamserve.engine.sessions.windows import Windows
from dreamserve.engine.types import StepResult
from dreamserve.engine.world import World
from dreamserve.manifest import DiscreteSpace, WorldSpec

Content = tuple[Hashable, ...]

_FREE = np.inf  # the last use of a slot that nobody has


class LastAnswer(NamedTuple):
    """The last answer of a session, where it says more than the slab does."""

    answer: StepResult
    content: Content  # what was asked beyond the action


class LastPlan(NamedTuple):
    """What a session planned last: `actions` (T, …), one a step, from after step `step` on."""

    step: int
    actions: Actions


class Slab:
    """One world's sessions in columns: row i of every array belongs to slot i.

    Latents and recurrent states are the backend's to keep (`rows`); what a dream is counted by is
    here. The last step's action and reward are kept too: with the latent they are its answer, and
    `kept`, by slot, has those that say more.
    """

    def __init__(self, number: int, world: World, count: int, sizes: Sequence[int]) -> None:
        self.number, self.world = number, world
        self.rows = make_rows(world.spec, world.backend, count, sizes)
        self.seed = np.zeros(count, np.uint64)
        self.key = np.zeros(count, np.uint64)  # what the noise of every step follows from
        self.step = np.zeros(count, np.int64)
        self.temperature = np.zeros(count, np.float32)
        self.terminated = np.zeros(count, np.bool_)
        self.used_at_s = np.full(count, _FREE)
        self.reward = np.zeros(count, np.float32)
        self.action: Actions = _no_actions(world.spec, count)
        self.kept: dict[int, LastAnswer] = {}
        self.planned: dict[int, LastPlan] = {}  # what sessions planned last, by slot
        self.windows = Windows()
        self._holders: list[str | None] = []  # by slot, as far as slots were ever used
        self._given_back: list[int] = []

    def allocate(self, session_id: str) -> int:
        """Return a free slot, now this session's: one given back before a fresh one."""
        if not self._given_back:
            self._given_back.append(len(self._holders))
            self._holders.append(None)
        slot = self._given_back.pop()
        self._holders[slot] = session_id
        return slot

    def free(self, slot: int) -> None:
        """Make `slot` free again."""
        self.used_at_s[slot], self._holders[slot] = _FREE, None
        self.kept.pop(slot, None)
        self.planned.pop(slot, None)
        self.windows.close(slot)
        self._given_back.append(slot)

    def begin(
        self, slots: Int64, latent: Array, state: State, seed: UInt64, temperature: Array
    ) -> None:
        """Write dreams at their step 0: latent (B, Z), state (B, *shape) each."""
        self.rows.write(slots, latent, state)
        self.seed[slots], self.step[slots] = seed, 0
        self.key[slots] = noise.stream_keys(seed, noise.STEP)
        self.temperature[slots], self.terminated[slots] = temperature, False
        if self.planned:
            for slot in slots.tolist():
                self.planned.pop(slot, None)

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
        if self.windows:
            for slot in slots[good].tolist():
                if (window := self.windows.get(slot)) is not None:
                    window.append(self.record(slot))
        self.rows.commit(slots, staged, good, latent)
        reward = staged.reward
        if not good.all():
            slots, number, actions = slots[good], number[good], actions[good]
            reward, terminated = reward[good], terminated[good]
        self.step[slots] = number
        self.action[slots], self.reward[slots] = actions, reward
        self.terminated[slots] = terminated
        if self.kept:
            for slot in slots.tolist():
                self.kept.pop(slot, None)

    def record(self, slot: int) -> SessionRecord:
        """Return all that the session of `slot` is now."""
        latent, state = self.rows.read(slot)
        step = int(self.step[slot])
        # Before its first step, what stands here is of whoever had the slot before.
        action = self.action[slot].copy() if step else np.zeros_like(self.action[slot])
        return SessionRecord(
            latent=latent,
            state=state,
            seed=int(self.seed[slot]),
            step=step,
            temperature=float(self.temperature[slot]),
            terminated=bool(self.terminated[slot]),
            action=action,
            reward=float(self.reward[slot]) if step else 0.0,
            kept=self.kept.get(slot) if step else None,
            planned=self.planned.get(slot),
            rewind_window=self.windows.length(slot),
        )

    def restore(self, slots: Int64, record: SessionRecord, seed: UInt64) -> None:
        """Make the sessions of `slots` (B,) what was recorded, but for their `seed` (B,).

        Their windows are left to the caller.
        """
        count = len(slots)
        heat = np.full(count, record.temperature, np.float32)
        state = tuple(part.repeat(count, axis=0) for part in record.state)
        self.begin(slots, record.latent.repeat(count, axis=0), state, seed, heat)
        self.step[slots], self.terminated[slots] = record.step, record.terminated
        self.action[slots], self.reward[slots] = record.action, record.reward
        for slot in slots.tolist():
            self.kept.pop(slot, None)
            if record.kept is not None:
                self.kept[slot] = record.kept
            if record.planned is not None:
                self.planned[slot] = record.planned

    def idle_since(self, moment_s: float) -> list[str]:
        """Return the sessions that were last used before `moment_s`."""
        idle = np.flatnonzero(self.used_at_s[: len(self._holders)] < moment_s)
        holders = (self._holders[slot] for slot in idle)
        return [session_id for session_id in holders if session_id is not None]


def _no_actions(spec: WorldSpec, count: int) -> Actions:
    if isinstance(spec.action_space, DiscreteSpace):
        return np.zeros(count, np.int64)
    return np.zeros((count, *spec.action_space.shape), np.float32)


def slab_bytes(spec: WorldSpec) -> int:
    """Return the bytes of one session's slab row."""
    # seed, key, step, temperature, terminated, used_at_s, reward
    bookkeeping = 8 + 8 + 8 + 4 + 1 + 8 + 4 + _no_actions(spec, 1).nbytes
    return spec.state_bytes() + bookkeeping
