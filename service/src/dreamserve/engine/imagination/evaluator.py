"""What candidates are worth: each is dreamt to its end, or as far as time allows."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from dreamserve import noise
from dreamserve.backends.base import Actions, Int64, KeepsRows
from dreamserve.engine.imagination.objectives import REWARD, ReturnAccumulator, reward_alone
from dreamserve.engine.imagination.trajectories import RolloutStart, Trajectories, Values, subseeds
from dreamserve.engine.types import Objective
from dreamserve.engine.work import Work
from dreamserve.noise import UInt64


def action_durations(step: int, horizon: int, action_repeat: int) -> Int64:
    """Return for how many steps each of H actions is held, (H,), by a plan made after `step`.

    Actions change on the steps that `action_repeat` divides, so that a plan made in the middle of
    an action may go on with it for just as long as the last one meant to. The last action is held
    for what the first one lacks.
    """
    lengths, held = np.full(horizon, action_repeat), step % action_repeat
    lengths[0] -= held
    lengths[-1] += held
    return lengths


@dataclass(frozen=True, slots=True, eq=False)
class CandidateValues:
    """What N candidates are worth."""

    values: Values  # (N,), -inf for what was not dreamt to its end
    whole: bool = True  # whether there was time for all of them
    partial: Values | None = None  # (N,) if there was time for none: as far as some got together
    calls: int = 0  # of the world


@dataclass(frozen=True, slots=True, eq=False)
class CandidateEvaluator:
    """Evaluates candidates: from one present, by one objective, in `particles` dreams each."""

    present: RolloutStart
    slice_rows: int
    objective: Objective = REWARD
    discount: float = 1.0
    particles: int = 1
    action_repeat: int = 1  # steps for which actions are held
    until_s: Callable[[], float] = lambda: inf  # by the engine's clock; asked at every step

    def evaluate(self, actions: Actions, seed: int) -> Work[CandidateValues]:
        """Return what each of actions (N, H, …) is worth: the mean over its particles.

        All candidates meet the same luck, that of `seed`, so that they are told apart by what
        they do; each particle meets another. A candidate that comes out as NaN or infinity in any
        of them is worth -inf: it always loses.
        """
        luck = subseeds(seed, self.particles, noise.PLAN)
        durations = action_durations(self.present.step, actions.shape[1], self.action_repeat)
        steps = actions.repeat(durations, 1)
        backend = self.present.world.backend
        if isinstance(backend, KeepsRows) and reward_alone(self.objective):
            values = self._on_device(backend, steps, luck)
            yield None
            return CandidateValues(self._mean(values))
        calls, values = 0, np.full(len(steps) * self.particles, -np.inf)
        for first in range(0, len(values), self.slice_rows):
            rows = np.arange(first, min(first + self.slice_rows, len(values)))
            worth, took, whole = yield from self._dream(steps, rows, luck)
            calls += took
            if not whole:
                partial = np.full_like(values, -np.inf)
                partial[rows] = worth
                return CandidateValues(
                    self._mean(values), False, None if first else self._mean(partial), calls
                )
            values[rows] = worth
        return CandidateValues(self._mean(values), calls=calls)

    def steps(self, horizon: int) -> int:
        """Return how many steps H actions are held for, and so how many calls a slice takes."""
        return horizon * self.action_repeat

    def most(self, horizon: int) -> float:
        """Return what no candidate of H actions can be worth more than; infinity if not known.

        It is known where each step survived earns the same: by whoever survives them all.
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

    def _dream(self, steps: Actions, rows: Int64, luck: UInt64) -> Work[tuple[Values, int, bool]]:
        """Return the worth of rows (B,) of N candidates' particles, the calls, and if it is all."""
        steps = steps[rows // self.particles]  # (B, T, …)
        seeds = luck if self.particles == 1 else luck[rows % self.particles]
        futures = Trajectories.of(self.present, len(rows), seeds, noise.PLAN)
        worth = ReturnAccumulator(self.present.world, self.objective, self.discount, len(rows))
        for t in range(steps.shape[1]):
            moment = yield from futures.advance(steps[:, t], self.until_s())
            if moment is None:
                return _lost(worth.values, futures), t, False
            worth.add(moment)
            if worth.settled(moment):
                break
        return _lost(worth.values, futures), t + 1, True

    def _on_device(self, backend: KeepsRows, steps: Actions, luck: UInt64) -> Values:
        """Dream all at once, where the state lives."""
        now, count = self.present, len(steps)
        numbers = now.step + 1 + np.arange(steps.shape[1])
        keys = np.stack([noise.keys(luck, np.full(len(luck), n), noise.PLAN) for n in numbers], 1)
        if self.particles > 1:
            steps = steps.repeat(self.particles, axis=0)
            keys = np.tile(keys, (count, 1))
        return backend.returns(
            now.world.spec, now.latent, now.state, steps, keys, now.temperature, self.discount
        )

    def _mean(self, values: Values) -> Values:
        mean: Values = values.reshape(-1, self.particles).mean(axis=1)
        return mean


def _lost(values: Values, futures: Trajectories) -> Values:
    worth: Values = np.where(futures.finite, values, -np.inf)
    return worth
