"""One world's sessions in columns. A batch is one gather and one scatter by slot."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Actions, Array, Bools, Int64, PendingStep, State, UInt64
from dreamserve.backends.host_state import make_state_store
from dreamserve.engine.sessions.records import SessionRecord, Windows
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec
from dreamserve_protocol.step import StepResult

Content = tuple[Hashable, ...]

_FREE = np.inf  # the last use of a slot that nobody has


def content_of_latent(latent: Array) -> bytes:
    """Return what tells one observed latent from another: its numbers, of which -0.0 is 0.0."""
    return (latent + np.float32(0)).tobytes()


class LastAnswer(NamedTuple):
    """The last step's result, where it says more than the slab does."""

    result: StepResult
    content: Content  # what was asked for beyond the action
    restarted: bool = False  # whether the step ended a dream, and a new one stands in the slab


class LastPlan(NamedTuple):
    """A session's last plan: `actions` (T, …), one a step, from after step `step` on."""

    step: int
    actions: Actions


class Slab:
    """One world's sessions in columns: row i of every array belongs to slot i.

    Latents and recurrent states are the backend's to keep (`states`); what a dream is counted by is
    here. The last step's action and reward are kept too: with the latent they are its result, and
    `last_answers`, by slot, has those that say more. Single sessions are reached through
    `table.Session`, batches through the methods here.
    """

    def __init__(self, number: int, world: World, count: int, sizes: Sequence[int]) -> None:
        self.number, self.world = number, world
        self.states = make_state_store(world.spec, world.backend, count, sizes)
        self.seed = np.zeros(count, np.uint64)
        self.key = np.zeros(count, np.uint64)  # what the noise of every step follows from
        self.step = np.zeros(count, np.int64)
        self.began_at = np.zeros(count, np.int64)  # the step after which the dream began
        self.max_steps = np.zeros(count, np.int64)  # of the dream; 0: no limit
        self.temperature = np.zeros(count, np.float32)
        self.terminated = np.zeros(count, np.bool_)
        self.used_at_s = np.full(count, _FREE)
        self.reward = np.zeros(count, np.float32)
        self.action: Actions = world.spec.action_space.zeros(count)
        self.last_answers: dict[int, LastAnswer] = {}
        self.last_plans: dict[int, LastPlan] = {}  # by slot
        self.windows = Windows()
        self._holders: list[str | None] = []  # by slot, as far as slots were ever used
        self._free: list[int] = []

    def allocate(self, session_id: str) -> int:
        """Return a free slot, now this session's: one that was freed before a fresh one."""
        if not self._free:
            self._free.append(len(self._holders))
            self._holders.append(None)
        slot = self._free.pop()
        self._holders[slot] = session_id
        return slot

    def free(self, slot: int) -> None:
        """Make `slot` free again."""
        self.used_at_s[slot], self._holders[slot] = _FREE, None
        self.last_answers.pop(slot, None)
        self.last_plans.pop(slot, None)
        self.windows.close(slot)
        self._free.append(slot)

    def stage(self, slots: Int64, actions: Actions) -> tuple[Int64, PendingStep]:
        """Advance copies of the dreams of `slots` (B,), all different, by actions (B, …).

        Return the number (B,) that each step has, and the step that is to be committed.
        """
        number = self.step[slots] + 1
        keys = noise.keys_at(self.key[slots], number - self.began_at[slots])
        return number, self.states.stage(slots, actions, keys, self.temperature[slots])

    def next_steps(self, slots: Int64) -> tuple[Int64, Bools]:
        """Return the number (B,) of each dream's next step, and whether it may be taken (B,)."""
        step = self.step[slots]
        return step + 1, ~(self.terminated[slots] | self.truncated(slots, step))

    def truncated(self, slots: Int64, step: Int64) -> Bools:
        """Return whether each dream (B,) has reached its limit by `step` (B,)."""
        limit = self.max_steps[slots]
        return (limit > 0) & (step - self.began_at[slots] >= limit)

    def begin(
        self, slots: Int64, latent: Array, state: State, seed: UInt64, at: Int64 | int = 0
    ) -> None:
        """Begin dreams in these slots (B,) after step `at`: latent (B, Z), state (B, *shape) each.

        Temperatures and limits are as they were.
        """
        self.states.write(slots, latent, state)
        self.seed[slots], self.step[slots], self.began_at[slots] = seed, at, at
        self.key[slots] = noise.stream_keys(seed, noise.STEP)
        self.terminated[slots] = False
        if self.last_plans:
            for slot in slots.tolist():
                self.last_plans.pop(slot, None)

    def commit(
        self,
        slots: Int64,
        number: Int64,
        actions: Actions,
        staged: PendingStep,
        is_finite: Bools,
        terminated: Bools,
        latent: Array | None = None,
    ) -> None:
        """Write the dreams of different `slots` (B,) at step `number` where `is_finite` (B,)."""
        if self.windows:
            for slot in slots[is_finite].tolist():
                if (window := self.windows.get(slot)) is not None:
                    window.append(self.record(slot))
        self.states.commit(slots, staged, is_finite, latent)
        reward = staged.reward
        if not is_finite.all():
            slots, number, actions = slots[is_finite], number[is_finite], actions[is_finite]
            reward, terminated = reward[is_finite], terminated[is_finite]
        self.step[slots] = number
        self.action[slots], self.reward[slots] = actions, reward
        self.terminated[slots] = terminated
        if self.last_answers:
            for slot in slots.tolist():
                self.last_answers.pop(slot, None)

    def record(self, slot: int) -> SessionRecord:
        """Return all that the session of `slot` is now."""
        latent, state = self.states.read(slot)
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
            last_answer=self.last_answers.get(slot) if step else None,
            last_plan=self.last_plans.get(slot),
            rewind_window=self.windows.length(slot),
            max_steps=int(self.max_steps[slot]),
            began_at=int(self.began_at[slot]),
        )

    def restore(self, slot: int, record: SessionRecord, seed: int) -> None:
        """Make the session of `slot` what was recorded, but for its seed; its window is kept."""
        seeds = np.array([seed], np.uint64)
        self.begin(np.array([slot]), record.latent, record.state, seeds, at=record.began_at)
        self.temperature[slot], self.max_steps[slot] = record.temperature, record.max_steps
        self.step[slot], self.terminated[slot] = record.step, record.terminated
        self.action[slot], self.reward[slot] = record.action, record.reward
        self.last_answers.pop(slot, None)
        if record.last_answer is not None:
            self.last_answers[slot] = record.last_answer
        if record.last_plan is not None:
            self.last_plans[slot] = record.last_plan

    def idle_since(self, moment_s: float) -> list[str]:
        """Return the sessions that were last used before `moment_s`."""
        idle = np.flatnonzero(self.used_at_s[: len(self._holders)] < moment_s)
        holders = (self._holders[slot] for slot in idle)
        return [session_id for session_id in holders if session_id is not None]


def slab_bytes(spec: WorldSpec) -> int:
    """Return the bytes of one session's slab row."""
    # seed, key, step, began_at, max_steps, temperature, terminated, used_at_s, reward
    bookkeeping = 8 + 8 + 8 + 8 + 8 + 4 + 1 + 8 + 4 + spec.action_space.zeros(1).nbytes
    return spec.state_bytes() + bookkeeping
