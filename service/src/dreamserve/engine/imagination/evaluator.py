"""Evaluates a planner's candidates to the horizon, or as far as the deadline allows."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Actions, DeviceBackend, Int64
from dreamserve.engine.dynamics import Work
from dreamserve.engine.imagination.objectives import REWARD, ReturnAccumulator, reward_alone
from dreamserve.engine.imagination.trajectories import RolloutStart, Trajectories, Values, subseeds
from dreamserve.noise import UInt64
from dreamserve_protocol.plan import Objective


def action_durations(step: int, horizon: int, action_repeat: int) -> Int64:
    """Return the number of steps (H,) that each action of a plan made after `step` is held.

    Actions change after steps that are multiples of `action_repeat`, so a plan made in the middle
    of an action can hold it until its planned end. The last action is held longer by the steps that
    the first one lacks.
    """
    durations, elapsed = np.full(horizon, action_repeat), step % action_repeat
    durations[0] -= elapsed
    durations[-1] += elapsed
    return durations


@dataclass(frozen=True, slots=True, eq=False)
class CandidateValues:
    """Values of N candidates."""

    values: Values  # (N,), -inf for candidates not evaluated to the horizon
    complete: bool = True  # whether all of them were evaluated before the deadline
    partial: Values | None = None  # (N,) if none was: values of the steps so far
    calls: int = 0  # number of world calls


@dataclass(frozen=True, slots=True, eq=False)
class CandidateEvaluator:
    """Evaluates candidates from one start by one objective, each in `particles` dreams."""

    start: RolloutStart
    slice_rows: int
    objective: Objective = REWARD
    discount: float = 1.0
    particles: int = 1
    action_repeat: int = 1  # steps for which actions are held
    until_s: Callable[[], float] = lambda: inf  # deadline by the engine's clock, called every step

    def evaluate(self, actions: Actions, seed: int) -> Work[CandidateValues]:
        """Return the values of N candidates, actions (N, H, …): means over their particles.

        All candidates get the same noise, derived from `seed`; particles differ in their noise. A
        candidate that becomes NaN or infinite in any particle has the value -inf.
        """
        seeds = subseeds(seed, self.particles, noise.PLAN)
        durations = action_durations(self.start.step, actions.shape[1], self.action_repeat)
        steps = actions.repeat(durations, 1)
        backend = self.start.world.backend
        if isinstance(backend, DeviceBackend) and reward_alone(self.objective):
            values = self._on_device(backend, steps, seeds)
            yield None
            return CandidateValues(self._mean(values))
        calls, values = 0, np.full(len(steps) * self.particles, -np.inf)
        for first in range(0, len(values), self.slice_rows):
            rows = np.arange(first, min(first + self.slice_rows, len(values)))
            returns, slice_calls, complete = yield from self._dream(steps, rows, seeds)
            calls += slice_calls
            if not complete:
                return self._cut_short(values, first, returns, calls)
            values[rows] = returns
        return CandidateValues(self._mean(values), calls=calls)

    def _cut_short(
        self, values: Values, first: int, returns: Values, calls: int
    ) -> CandidateValues:
        """Return the values when the deadline stops the slice that starts at dream `first`.

        `values` holds those of the complete dreams, `returns` those of the slice's steps so far.
        """
        means = self._mean(values)
        if first >= self.particles:
            return CandidateValues(means, False, None, calls)
        if not first:  # no dream has reached the horizon
            first = len(returns)
            values[:first] = returns
        dreamt = (np.arange(len(values)) < first).reshape(-1, self.particles)
        sums = np.where(dreamt, values.reshape(dreamt.shape), 0).sum(axis=1)
        counts = dreamt.sum(axis=1)
        partial: Values = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
        return CandidateValues(np.full_like(means, -np.inf), False, partial, calls)

    def steps(self, horizon: int) -> int:
        """Return the number of steps of H actions: the number of world calls of a slice."""
        return horizon * self.action_repeat

    def upper_bound(self, horizon: int) -> float:
        """Return the largest value that a candidate of H actions can have; infinity if unknown.

        It is known if the reward of each survived step is constant: then surviving all is best.
        """
        rule, objective = self.start.world.spec.reward, self.objective
        others = objective.survival or objective.target is not None
        if others or objective.reward < 0 or rule.value is None or rule.value < 0:
            return inf
        bound, weight = 0.0, 1.0
        for _ in range(self.steps(horizon)):  # the same sum as a candidate's, to the last bit
            bound += weight * (objective.reward * rule.value)
            weight *= self.discount
        return bound

    def _dream(self, steps: Actions, rows: Int64, seed: UInt64) -> Work[tuple[Values, int, bool]]:
        """Return the values of dreams `rows` (B,), the world calls, and whether all steps ran."""
        steps = steps[rows // self.particles]  # (B, T, …)
        seeds = seed if self.particles == 1 else seed[rows % self.particles]
        dreams = Trajectories.of(self.start, len(rows), seeds, noise.PLAN)
        returns = ReturnAccumulator(self.start.world, self.objective, self.discount, len(rows))
        for t in range(steps.shape[1]):
            outcome = yield from dreams.advance(steps[:, t], self.until_s())
            if outcome is None:
                return returns.finite_values(dreams.finite), t, False
            returns.add(outcome)
            if returns.settled(outcome):
                break
        return returns.finite_values(dreams.finite), t + 1, True

    def _on_device(self, backend: DeviceBackend, steps: Actions, seed: UInt64) -> Values:
        """Evaluate all candidates in one call on the device."""
        start, count = self.start, len(steps)
        numbers = start.step + 1 + np.arange(steps.shape[1])
        keys = np.stack([noise.keys(seed, np.full(len(seed), n), noise.PLAN) for n in numbers], 1)
        if self.particles > 1:
            steps = steps.repeat(self.particles, axis=0)
            keys = np.tile(keys, (count, 1))
        spec, temperature = start.world.spec, start.temperature
        return backend.returns(
            spec, start.latent, start.state, steps, keys, temperature, self.discount
        )

    def _mean(self, values: Values) -> Values:
        mean: Values = values.reshape(-1, self.particles).mean(axis=1)
        return mean
