"""One world's sessions in columns: a batch is one gather and one scatter by slot."""

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Actions, Array, Bools, Int64, PendingStep, State, UInt64
from dreamserve.backends.host_state import make_state_store
from dreamserve.engine.histogram import NATS, ROWS, Histogram
from dreamserve.engine.sessions.kept import KeptBytes, Share
from dreamserve.engine.sessions.keys import SessionKey
from dreamserve.engine.sessions.records import NO_LIMIT, SessionRecord, Windows
from dreamserve.engine.sessions.rows import row_dtype
from dreamserve.engine.sessions.sizes import kept_step_bytes
from dreamserve.engine.world import World
from dreamserve.manifest import WorldSpec
from dreamserve.planning.base import action_durations
from dreamserve_protocol.step import StepResult

Content = tuple[Hashable, ...]
NOTHING = frozenset[str]()  # included
NO_EXTRAS: Content = (NOTHING,)  # of a step that is its action alone

_FREE = np.inf  # `used_at_s` of a free slot


def content_of_latent(latent: Array) -> bytes:
    """Return the bytes by which observed latents are compared; -0.0 equals 0.0."""
    return (latent + np.float32(0)).tobytes()


class LastAnswer(NamedTuple):
    """The last step's result, stored if it holds more than the slab."""

    result: StepResult
    content: Content  # of the request, beyond the action
    restarted: bool = False  # whether the step ended a dream, which a new one has replaced


class LastPlan(NamedTuple):
    """A session's last plan, made after step `step`: `actions` (H, …), each held for some steps."""

    step: int
    actions: Actions
    action_repeat: int
    share: Share  # of the bytes of all plans

    def remaining(self, step: int, after: Int64) -> Actions | None:
        """Return the plan's actions at steps `step` + `after` (N,) of the dream.

        They are fewer if the plan has fewer steps than that; its last action stands for the steps
        beyond its end. None if no step remains, or if the dream was rewound to before the plan.
        """
        ends = np.cumsum(action_durations(self.step, len(self.actions), self.action_repeat))
        taken, steps = step - self.step, int(ends[-1])
        if not 0 <= taken < steps:
            return None
        at = np.minimum(after[after < steps] + taken, steps - 1)
        remaining: Actions = self.actions[np.searchsorted(ends, at, side="right")]
        return remaining


class WorldMeasures:
    """What is measured of the sessions of one name's worlds; turns write, any thread reads."""

    def __init__(self) -> None:
        self.created = self.taken_over = 0  # sessions that came
        self.deleted = self.expired = self.lost = 0  # sessions that went; `lost`: with a lost lease
        self.evicted = 0  # copies of stored sessions that made room for others
        self.step_rows = Histogram(ROWS)  # rows of step batches; their sum is the number of steps
        self.surprise = Histogram(NATS)  # of observed steps, in nats per latent dimension


class Slab:
    """One world's sessions in columns: row i of every array belongs to slot i.

    The backend stores latents and recurrent states (`states`), the slab the rest. The last step's
    action, reward and signals are stored, too: with the latent they are its result. Results that
    hold more are in `last_answers`, by slot. `session.Session` gives access to a single session,
    the methods here to batches.
    """

    def __init__(
        self,
        number: int,
        world: World,
        count: int,
        sizes: Sequence[int],
        plans: KeptBytes | None = None,
        stored: bool = False,
        measures: WorldMeasures | None = None,
    ) -> None:
        self.number, self.world = number, world
        self.plans = plans or KeptBytes()
        self.measures = measures or WorldMeasures()
        self.changed = set[int]()  # slots whose sessions' records changed, if they are stored
        self._stored = stored
        self.states = make_state_store(world.spec, world.backend, count, sizes)
        self.seed = np.zeros(count, np.uint64)
        self.key = np.zeros(count, np.uint64)  # `noise.stream_keys` of the seed
        self.dream = np.zeros(count, np.int64)  # number of the slot's dream, which none had before
        self.step = np.zeros(count, np.int64)
        self.began_at = np.zeros(count, np.int64)  # the step after which the dream began
        self.max_steps = np.full(count, NO_LIMIT, np.int64)  # of the dream
        self.temperature = np.zeros(count, np.float32)
        self.terminated = np.zeros(count, np.bool_)
        self.used_at_s = np.full(count, _FREE)
        self.created_at_s = np.zeros(count)
        self.owner = np.zeros(count, np.int32)  # number of the owner in the table
        self.serial = np.zeros(count, np.int64)  # number of the session, by which lists are sorted
        self.reward = np.zeros(count, np.float32)
        self.signals = tuple(np.zeros(count, np.float32) for _ in world.spec.signals)
        self.action: Actions = world.spec.action_space.zeros(count)
        self.last_answers: dict[int, LastAnswer] = {}
        self.last_plans: dict[int, LastPlan] = {}  # by slot
        self.windows = Windows()
        self.kept_step_bytes = kept_step_bytes(world.spec)  # of each step of the windows
        self._holders: list[SessionKey | None] = []  # by slot, for the slots used so far
        self._free: list[int] = []

    @cached_property
    def row_dtype(self) -> np.dtype[Any]:
        """The layout of a session's row in a stored record."""
        return row_dtype(self.world.spec)

    @property
    def count(self) -> int:
        """The number of its sessions."""
        return len(self._holders) - len(self._free)

    def allocate(self, key: SessionKey) -> int:
        """Allocate a slot to this session; slots that were freed are reused first."""
        if not self._free:
            self._free.append(len(self._holders))
            self._holders.append(None)
        slot = self._free.pop()
        self._holders[slot] = key
        return slot

    def free(self, slot: int) -> None:
        """Make `slot` free again."""
        self.used_at_s[slot], self._holders[slot] = _FREE, None
        self.last_answers.pop(slot, None)
        self.last_plans.pop(slot, None)
        self.windows.close(slot)
        self.changed.discard(slot)
        self._free.append(slot)

    def stage(self, slots: Int64, actions: Actions) -> tuple[Int64, PendingStep]:
        """Advance copies of the dreams of `slots` (B,), all different, by actions (B, …).

        Return the numbers (B,) of the steps, and the pending step, for `commit`.
        """
        self.measures.step_rows.add(len(slots))
        number = self.step[slots] + 1
        keys = noise.keys_at(self.key[slots], number - self.began_at[slots])
        return number, self.states.stage(slots, actions, keys, self.temperature[slots])

    def next_steps(self, slots: Int64) -> tuple[Int64, Bools]:
        """Return the number (B,) of each dream's next step, and whether it may be taken (B,)."""
        step = self.step[slots]
        return step + 1, ~(self.terminated[slots] | self.truncated(slots, step))

    def truncated(self, slots: Int64, step: Int64) -> Bools:
        """Return whether each dream (B,) has reached its `max_steps` by `step` (B,)."""
        return step - self.began_at[slots] >= self.max_steps[slots]

    def begin(
        self, slots: Int64, latent: Array, state: State, seed: UInt64, at: Int64 | int = 0
    ) -> None:
        """Begin dreams in these slots (B,) after step `at`: latent (B, Z), state (B, *shape) each.

        Temperatures and `max_steps` do not change.
        """
        self.states.write(slots, latent, state)
        self.dream[slots] += 1
        self.seed[slots], self.step[slots], self.began_at[slots] = seed, at, at
        self.key[slots] = noise.stream_keys(seed, noise.STEP)
        self.terminated[slots] = False
        if self._stored:
            self.changed.update(slots.tolist())
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
        """Commit a staged step of `slots` (B,), with step numbers (B,), where `is_finite` (B,)."""
        if self.windows:
            for slot in slots[is_finite].tolist():
                if (window := self.windows.get(slot)) is not None:
                    window.append(self.record(slot))
        self.states.commit(slots, staged, is_finite, latent)
        reward, signals = staged.reward, staged.signals
        if not is_finite.all():
            slots, number, actions = slots[is_finite], number[is_finite], actions[is_finite]
            reward, terminated = reward[is_finite], terminated[is_finite]
            signals = tuple(part[is_finite] for part in signals)
        self.step[slots] = number
        self.action[slots], self.reward[slots] = actions, reward
        self.terminated[slots] = terminated
        for column, part in zip(self.signals, signals, strict=True):
            column[slots] = part
        if self._stored:
            self.changed.update(slots.tolist())
        if self.last_answers:
            for slot in slots.tolist():
                self.last_answers.pop(slot, None)

    def record(self, slot: int) -> SessionRecord:
        """Return the complete state of the session of `slot`."""
        latent, state = self.states.read(np.array([slot]))
        step = int(self.step[slot])
        # Before the first step, these arrays hold values of the slot's previous session.
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
            signals=tuple(float(column[slot]) for column in self.signals) if step else (),
            last_answer=self.last_answers.get(slot) if step else None,
            last_plan=self.last_plans.get(slot),
            rewind_window=self.windows.length(slot),
            max_steps=int(self.max_steps[slot]),
            began_at=int(self.began_at[slot]),
        )

    def restore(self, slot: int, record: SessionRecord, seed: int) -> None:
        """Restore the recorded state in `slot`, with `seed`; its window does not change."""
        seeds = np.array([seed], np.uint64)
        self.begin(np.array([slot]), record.latent, record.state, seeds, at=record.began_at)
        self.temperature[slot], self.max_steps[slot] = record.temperature, record.max_steps
        self.step[slot], self.terminated[slot] = record.step, record.terminated
        self.action[slot], self.reward[slot] = record.action, record.reward
        if record.signals:
            for column, number in zip(self.signals, record.signals, strict=True):
                column[slot] = number
        self.last_answers.pop(slot, None)
        if record.last_answer is not None:
            self.last_answers[slot] = record.last_answer
        if record.last_plan is not None:
            self.last_plans[slot] = record.last_plan

    def last_used_s(self) -> float:
        """Return when any session was last used; minus infinity without one."""
        used_at_s = self.used_at_s[: len(self._holders)]
        return float(used_at_s[used_at_s < _FREE].max(initial=-np.inf))

    def idle_since(self, moment_s: float, owner: int | None = None) -> Int64:
        """Return the slots (B,) of the sessions that were not used after `moment_s`, ascending.

        `owner`: the number of the only owner whose sessions are returned.
        """
        used = len(self._holders)
        is_idle = self.used_at_s[:used] <= moment_s
        return np.flatnonzero(is_idle if owner is None else is_idle & (self.owner[:used] == owner))

    def holder(self, slot: int) -> SessionKey:
        """Return the key of the session in `slot`, which must have one."""
        key = self._holders[slot]
        if key is None:
            raise LookupError(f"slot {slot} is free")
        return key


def slab_bytes(spec: WorldSpec) -> int:
    """Return the bytes of one session's slab row."""
    # seed, key, dream, step, began_at, max_steps, temperature, terminated, used_at_s, created_at_s,
    # owner, serial, reward
    bookkeeping = 8 * 6 + 4 + 1 + 8 + 8 + 4 + 8 + 4 + spec.action_space.zeros(1).nbytes
    return spec.state_bytes() + bookkeeping + 4 * len(spec.signals)
