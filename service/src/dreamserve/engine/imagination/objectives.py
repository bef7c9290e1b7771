"""Objectives of a plan, alone or as a weighted sum.

For a future of steps t = 1 … T that is alive before step t, with discount γ:

    reward     Σ γ^(t-1) · r_t
    survival   Σ γ^(t-1) · Π_{s ≤ t} (1 - σ(d_s)), the expected number of steps survived, where d is
               the done logit minus the world's threshold: unlike the hard threshold, it
               distinguishes low from high risk
    target     -Σ γ^(t-1) · |z_t - z*|² / Z, minus the mean squared distance from a target latent

After a future has ended it gets no reward and no survival, but its last distance from the target
still counts at every step, so that ending early does not avoid that cost.
"""

import numpy as np

from dreamserve.backends.base import Bools
from dreamserve.engine.imagination.trajectories import StepOutcome, Values
from dreamserve.engine.world import World
from dreamserve_protocol.plan import Objective

REWARD = Objective(reward=1.0)


def reward_alone(objective: Objective) -> bool:
    """Return whether the objective is the plain sum of rewards, which a device computes itself."""
    return objective.reward == 1 and not objective.survival and objective.target is None


class ReturnAccumulator:
    """Sums the objective over the steps of B dreams: `values` (B,) float64."""

    def __init__(self, world: World, objective: Objective, discount: float, rows: int) -> None:
        self._world, self._objective, self._discount = world, objective, discount
        self._weight, self._survived = 1.0, np.ones(rows)
        self.values: Values = np.zeros(rows)

    def add(self, outcome: StepOutcome) -> None:
        """Add one step; values that are not finite count as 0."""
        objective, gain = self._objective, np.zeros(len(self.values))
        if objective.reward:
            gain += objective.reward * np.where(outcome.finite, outcome.reward, 0.0)
        if objective.survival:
            self._survived *= np.where(outcome.alive, 1 - self._hazard(outcome), 0.0)
            gain += objective.survival * self._survived
        if objective.target is not None:
            latent = np.where(outcome.finite[:, None], outcome.latent, np.float32(0))
            distance = np.square(latent - objective.target, dtype=np.float64).mean(axis=1)
            gain -= objective.target_weight * distance
        self.values += self._weight * gain
        self._weight *= self._discount

    def finite_values(self, is_finite: Bools) -> Values:
        """Return the values (B,), -inf where the dream is not finite."""
        values: Values = np.where(is_finite, self.values, -np.inf)
        return values

    def settled(self, outcome: StepOutcome) -> bool:
        """Return whether no later step can change the values."""
        return self._objective.target is None and bool(outcome.ended.all())

    def _hazard(self, outcome: StepOutcome) -> Values:
        """Return σ(d), (B,); 1 for a future that is not finite."""
        logit = outcome.output.done_logit.astype(np.float64) - self._world.spec.done.threshold
        hazard: Values = np.where(outcome.finite, 0.5 * (1 + np.tanh(0.5 * logit)), 1.0)
        return hazard
