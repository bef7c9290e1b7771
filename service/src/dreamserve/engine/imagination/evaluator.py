"""Evaluates candidates: to the horizon, or as far as the deadline allows."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Actions, Int64, KeepsState
from dreamserve.engine.dynamics import Work
from dreamserve.engine.imagination.objectives import REWARD, ReturnAccumulator, reward_alone
from dreamserve.engine.imagination.trajectories import RolloutStart, Trajectories, Values, subseeds
from dreamserve.noise import UInt64
from dreamserve_protocol.plan import Objective


def action_durations(step: int, horizon: int, action_repeat: int) -> Int64:
    """Return for how many steps each of H actions is held, (H,), in a plan made after `step`.

    Actions change after steps that are multiples of `action_repeat`, so a plan made in the middle
    of an action can hold it until its planned end. The last action is held longer by the steps that
    the first one lacks.
    """
    lengths, held = np.full(horizon, action_repeat), step % action_repeat
    lengths[0] -= held
    lengths[-1] += held
    return lengths


@dataclass(frozen=True, slots=True, eq=False)
class CandidateValues:
    """Values of N candidates."""

    values: Values  # (N,), -inf for candidates not evaluated to the horizon
    complete: bool = True  # whether there was time for all of them
    partial: Values | None = None  # (N,) if there was time for none: values of the steps so far
    calls: int = 0  # of the world


@dataclass(frozen=True, slots=True, eq=False)
class CandidateEvaluator:
    """Evaluates candidates from one start, by one objective, in `particles` dreams each."""

    present: RolloutStart
    slice_rows: int
    objective: Objective = REWARD
    discount: float = 1.0
    particles: int = 1
    action_repeat: int = 1  # steps for which actions are held
    until_s: Callable[[], float] = lambda: inf  # deadline by the engine's clock, called every step

    def evaluate(self, actions: Actions, seed: int) -> Work[CandidateValues]:
        """Return the value of each of actions (N, H, …): the mean over its particles.

        All candidates get the same noise, that of `seed`; each particle has other noise. A
        candidate that becomes NaN or infinite in any particle has the value -inf.
        """
        seeds = subseeds(seed, self.particles, noise.PLAN)
        durations = action_durations(self.present.step, actions.shape[1], self.action_repeat)
        steps = actions.repeat(durations, 1)
        backend = self.present.world.backend
        if isinstance(backend, KeepsState) and reward_alone(self.objective):
            values = self._on_device(backend, steps, seeds)
            yield None
            return CandidateValues(self._mean(values))
        calls, values = 0, np.full(len(steps) * self.particles, -np.inf)
        for first in range(0, len(values), self.slice_rows):
            rows = np.arange(first, min(first + self.slice_rows, len(values)))
            returns, took, complete = yield from self._dream(steps, rows, seeds)
            calls += took
            if not complete:
                return self._cut_short(values, first, returns, calls)
            values[rows] = returns
        return CandidateValues(self._mean(values), calls=calls)

    def _cut_short(
        self, values: Values, first: int, returns: Values, calls: int
    ) -> CandidateValues:
        """Return the values at the deadline: of the first `first` dreams, and part of a slice."""
        found = self._mean(values)
        if first >= self.particles:
            return CandidateValues(found, False, None, calls)
        if not first:  # no dream reached the horizon: the steps so far of the first slice
            first = len(returns)
            values[:first] = returns
        dreamt = (np.arange(len(values)) < first).reshape(-1, self.particles)
        sums = np.where(dreamt, values.reshape(dreamt.shape), 0).sum(axis=1)
        counts = dreamt.sum(axis=1)
        partial: Values = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
        return CandidateValues(np.full_like(found, -np.inf), False, partial, calls)

    def steps(self, horizon: int) -> int:
        """Return the number of steps of H actions, which is the number of calls of a slice."""
        return horizon * self.action_repeat

    def upper_bound(self, horizon: int) -> float:
        """Return the largest value that a candidate of H actions can have; infinity if not known.

        It is known if the reward of each survived step is constant: then surviving all is best.
        """
        rule, wanted = self.present.world.spec.reward, self.objective
        others = wanted.survival or wanted.target is not None
        if others or wanted.reward < 0 or rule.value is None or rule.value < 0:
            return inf
        most, weight = 0.0, 1.0
        for _ in range(self.steps(horizon)):  # summed as the candidates' are
            most += weight * (wanted.reward * rule.value)
            weight *= self.discount
        return most

    def _dream(self, steps: Actions, rows: Int64, seed: UInt64) -> Work[tuple[Values, int, bool]]:
        """Return the values of rows (B,) of the particles, the calls, and whether all steps ran."""
        steps = steps[rows // self.particles]  # (B, T, …)
        seeds = seed if self.particles == 1 else seed[rows % self.particles]
        dreams = Trajectories.of(self.present, len(rows), seeds, noise.PLAN)
        returns = ReturnAccumulator(self.present.world, self.objective, self.discount, len(rows))
        for t in range(steps.shape[1]):
            outcome = yield from dreams.advance(steps[:, t], self.until_s())
            if outcome is None:
                return returns.finite_values(dreams.finite), t, False
            returns.add(outcome)
            if returns.settled(outcome):
                break
        return returns.finite_values(dreams.finite), t + 1, True

    def _on_device(self, backend: KeepsState, steps: Actions, seed: UInt64) -> Values:
        """Evaluate all candidates in one call on the device."""
        now, count = self.present, len(steps)
        numbers = now.step + 1 + np.arange(steps.shape[1])
        keys = np.stack([noise.keys(seed, np.full(len(seed), n), noise.PLAN) for n in numbers], 1)
        if self.particles > 1:
            steps = steps.repeat(self.particles, axis=0)
            keys = np.tile(keys, (count, 1))
        return backend.returns(
            now.world.spec, now.latent, now.state, steps, keys, now.temperature, self.discount
        )

    def _mean(self, values: Values) -> Values:
        mean: Values = values.reshape(-1, self.particles).mean(axis=1)
        return mean
