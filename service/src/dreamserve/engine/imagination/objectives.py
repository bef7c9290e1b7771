"""Objectives of a plan, alone or as a weighted sum.

For a future of steps t = 1 … T that is alive before step t, with discount γ:

    reward     Σ γ^(t-1) · r_t
    survival   Σ γ^(t-1) · Π_{s ≤ t} (1 - σ(d_s)), the expected number of steps survived, where d is
               the done logit minus the world's threshold: unlike the hard threshold, it
               distinguishes low from high risk. Where ends are drawn, the future is followed past
               such a draw for this sum, or survival would count twice
    a signal   Σ γ^(t-1) · s_t; of `value`, γ^T · v_T alone, if the future is alive after step T: it
               is the return from there on
    target     -Σ γ^(t-1) · |z_t - z*|² / Z, minus the mean squared distance from a target latent

After a future has ended it gets no reward, and past a threshold no survival, but its last distance
from the target still counts at every step, so that ending early does not avoid that cost.
"""

import numpy as np

from dreamserve.backends.base import Array, Bools
from dreamserve.engine.imagination.trajectories import StepOutcome, Values
from dreamserve.engine.world import World
from dreamserve_protocol.plan import Objective

REWARD = Objective(reward=1.0)


def reward_alone(objective: Objective) -> bool:
    """Return whether the objective is the plain sum of rewards, which a device computes itself."""
    signals = (objective.signals or {}).values()
    others = objective.survival or objective.target is not None or any(signals)
    return objective.reward == 1 and not others


def goes_on(world: World, objective: Objective) -> bool:
    """Return whether futures are followed past a drawn end, for the probability of survival."""
    return bool(objective.survival) and world.spec.done.rule == "drawn"


class ReturnAccumulator:
    """Sums the objective over the steps of B dreams: `values` (B,) float64."""

    def __init__(self, world: World, objective: Objective, discount: float, rows: int) -> None:
        self._world, self._objective, self._discount = world, objective, discount
        self._goes_on = goes_on(world, objective)
        self._weight, self._survived = 1.0, np.ones(rows)
        self._distance: Values = np.zeros(rows)  # from the target, as long as a future is alive
        self._bootstrap: Values = np.zeros(rows)  # of the last step: its value
        self._sums: Values = np.zeros(rows)
        named = world.spec.named_signals(range(len(world.spec.signals)))
        weights = (objective.signals or {}).items()
        self._signals = [(named[name], weight, name == "value") for name, weight in weights]

    @property
    def values(self) -> Values:
        """The values so far, (B,)."""
        return self._sums + self._bootstrap

    def add(self, outcome: StepOutcome) -> None:
        """Add one step; values that are not finite count as 0."""
        objective, gain = self._objective, np.zeros(len(self._sums))
        if objective.reward:
            gain += objective.reward * _finite(outcome, outcome.reward)
        if objective.survival:
            counts = outcome.alive | self._goes_on
            self._survived *= np.where(counts, 1 - self._hazard(outcome), 0.0)
            gain += objective.survival * self._survived
        if objective.target is not None:
            latent = np.where(outcome.finite[:, None], outcome.latent, np.float32(0))
            distance = np.square(latent - objective.target, dtype=np.float64).mean(axis=1)
            self._distance = np.where(outcome.alive, distance, self._distance)
            gain -= objective.target_weight * self._distance
        for i, weight, is_value in self._signals:
            signal = weight * _finite(outcome, outcome.output.signals[i])
            if is_value:
                following = self._weight * self._discount
                self._bootstrap = following * np.where(outcome.ended, 0.0, signal)
            else:
                gain += np.where(outcome.alive, signal, 0.0)
        self._sums += self._weight * gain
        self._weight *= self._discount

    def finite_values(self, is_finite: Bools) -> Values:
        """Return the values (B,), -inf where the dream is not finite."""
        values: Values = np.where(is_finite, self.values, -np.inf)
        return values

    def settled(self, outcome: StepOutcome) -> bool:
        """Return whether no later step can change the values."""
        if self._objective.target is not None:
            return False
        survives = self._goes_on and bool(self._survived.any())
        return bool(outcome.ended.all()) and not survives

    def _hazard(self, outcome: StepOutcome) -> Values:
        """Return σ(d), (B,); 1 for a future that is not finite, also after its end."""
        logit = outcome.output.done_logit.astype(np.float64) - self._world.spec.done.threshold
        finite = outcome.finite & np.isfinite(logit)
        hazard: Values = np.where(finite, 0.5 * (1 + np.tanh(0.5 * logit)), 1.0)
        return hazard


def _finite(outcome: StepOutcome, numbers: Array) -> Values:
    """Return numbers (B,) as float64, 0 for a future that is not finite."""
    values: Values = np.where(outcome.finite, numbers.astype(np.float64), 0.0)
    return values
