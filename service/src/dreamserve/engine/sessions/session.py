"""A session as an object: a view of its slot in a slab."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Array, Int64, State
from dreamserve.engine.sessions.records import NO_LIMIT, SessionRecord
from dreamserve.engine.sessions.slab import LastAnswer, LastPlan, Slab
from dreamserve.engine.world import World
from dreamserve_protocol.step import StepResult

_PLAN_BYTES = 512  # of the objects around a plan's actions


@dataclass(slots=True, eq=False)
class Session:
    """A view of one session's slot. It is created for each use and not stored."""

    id: str
    slab: Slab
    slot: int

    @property
    def world(self) -> World:
        """The session's world."""
        return self.slab.world

    @property
    def step(self) -> int:
        """The number of the last step."""
        return int(self.slab.step[self.slot])

    @property
    def began_at(self) -> int:
        """The step after which the dream began."""
        return int(self.slab.began_at[self.slot])

    @property
    def age(self) -> int:
        """The number of steps of the dream."""
        return self.step - self.began_at

    @property
    def max_steps(self) -> int | None:
        """The dream's time limit, if any."""
        max_steps = int(self.slab.max_steps[self.slot])
        return None if max_steps == NO_LIMIT else max_steps

    @property
    def seed(self) -> int:
        """The seed of its noise."""
        return int(self.slab.seed[self.slot])

    @property
    def dream(self) -> int:
        """What tells the dream from all others that the slot has had; a rewind begins one, too."""
        return int(self.slab.dream[self.slot])

    @property
    def temperature(self) -> float:
        """The dream's temperature."""
        return float(self.slab.temperature[self.slot])

    @property
    def terminated(self) -> bool:
        """Whether the world has ended the dream."""
        return bool(self.slab.terminated[self.slot])

    @property
    def truncated(self) -> bool:
        """Whether the dream has reached `max_steps`."""
        return bool(self.age >= self.slab.max_steps[self.slot])

    @property
    def ended(self) -> bool:
        """Whether the dream takes no more steps."""
        return self.terminated or self.truncated

    @property
    def last_answer(self) -> LastAnswer | None:
        """The last step's result, if it holds more than the slab."""
        return self.slab.last_answers.get(self.slot)

    @property
    def was_restarted(self) -> bool:
        """Whether the last step ended a dream, which a new one has replaced."""
        return (last := self.last_answer) is not None and last.restarted

    @property
    def keeps_steps(self) -> bool:
        """Whether it has a rewind window."""
        return self.slab.windows.get(self.slot) is not None

    @property
    def rewindable_to(self) -> int:
        """The earliest step that a rewind can return to: its own if it keeps none."""
        window = self.slab.windows.get(self.slot)
        return window[0].step if window else self.step

    def last_result(self) -> StepResult:
        """Return the result of the last step again."""
        if (last := self.last_answer) is not None:
            result = last.result  # that of a fork has the id of the forked session
            same = result.session_id == self.id
            return result if same else replace(result, session_id=self.id)
        latent, reward = self.row()[0][0], float(self.slab.reward[self.slot])
        return StepResult(self.id, self.step, latent, reward, self.terminated, self.truncated)

    def last_signals(self) -> dict[str, float]:
        """Return the world's signals of the last step again, by name."""
        return self.world.spec.named_signals(float(one[self.slot]) for one in self.slab.signals)

    def last_action_was(self, action: Any) -> bool:
        """Return whether the last step took this action."""
        return np.array_equal(self.slab.action[self.slot], action)

    def row(self) -> tuple[Array, State]:
        """Return copies of latent (1, Z) and state (1, *shape) each."""
        return self.slab.states.read(np.array([self.slot]))

    def record(self) -> SessionRecord:
        """Return the session's complete state."""
        return self.slab.record(self.slot)

    def record_at(self, step: int) -> SessionRecord:
        """Return the session's state after `step`: the current one, or one of its window."""
        window, back = self.slab.windows.get(self.slot), self.step - step
        return window[-back] if window and back else self.record()

    def past(self) -> tuple[SessionRecord, ...]:
        """Return the records of its window, oldest first."""
        return tuple(self.slab.windows.get(self.slot) or ())

    def begin(
        self, latent: Array, state: State, seed: int, temperature: float, max_steps: int | None
    ) -> None:
        """Begin a dream at latent (1, Z) and state (1, *shape) each."""
        slab, slot = self.slab, self.slot
        slab.temperature[slot], slab.max_steps[slot] = temperature, max_steps or NO_LIMIT
        slab.begin(np.array([slot]), latent, state, np.array([seed], np.uint64))

    def restore(
        self, record: SessionRecord, seed: int | None = None, past: Iterable[SessionRecord] = ()
    ) -> None:
        """Restore the recorded state, with `past` as its window; `seed` replaces the seed."""
        self.slab.restore(self.slot, record, record.seed if seed is None else seed)
        if (window := self.slab.windows.get(self.slot)) is not None:
            window.extend(past)

    def rewind(self, step: int) -> None:
        """Go back to `step`: the current one, or one of its window."""
        window, back = self.slab.windows.get(self.slot), self.step - step
        if window and back:
            records = [window.pop() for _ in range(back)]
            self.slab.restore(self.slot, records[-1], records[-1].seed)

    def keep_answer(self, last: LastAnswer) -> None:
        """Store the last step's result, in case the step is sent again."""
        self.slab.last_answers[self.slot] = last

    def keep_plan(self, step: int, actions: Actions, action_repeat: int) -> None:
        """Store the plan made after `step` of the dream: actions (H, …), each held.

        If all plans would take too much memory, none is stored: the next plan starts anew.
        """
        self.slab.last_plans.pop(self.slot, None)
        share = self.slab.plans.take(actions.nbytes + _PLAN_BYTES)
        if share is not None:
            self.slab.last_plans[self.slot] = LastPlan(step, actions, action_repeat, share)

    def remaining_plan(self, after: Int64) -> Actions | None:
        """Return what remains of the last plan: its actions `after` (N,) more steps, or fewer."""
        last = self.slab.last_plans.get(self.slot)
        return None if last is None else last.remaining(self.age, after)
