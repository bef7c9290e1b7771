"""What a future is worth: the objectives that a plan can be made for, alone or weighed together.

For a future of steps t = 1 … T that is alive before step t, with discount γ:

    reward     Σ γ^(t-1) · r_t
    survival   Σ γ^(t-1) · Π_{s ≤ t} (1 - σ(d_s)), the expected number of steps survived, where d is
               the done logit less the world's threshold: it tells a narrow escape from a safe
               course, which the hard cut does not
    target     -Σ γ^(t-1) · |z_t - z*|² / Z, the mean squared distance from a latent that is wanted

A future that has ended earns no reward and survives no longer, and stays as far from the target as
it stood: to end is never a way out of a cost.
"""

from dataclasses import replace

import numpy as np

from dreamserve.engine.checks import check_latent, check_range
from dreamserve.engine.imagination.trajectories import StepOutcome, Values
from dreamserve.engine.types import Objective
from dreamserve.engine.world import World
from dreamserve.errors import InvalidRequestError

LARGEST_WEIGHT = 1e6
REWARD = Objective(reward=1.0)


def check_objective(world: World, objective: Objective) -> Objective:
    """Return the objective with its target as float32. Raises InvalidRequestError and its kin."""
    for name in ("reward", "survival", "target_weight"):
        weight = getattr(objective, name)
        check_range(f"objective.{name}", weight, -LARGEST_WEIGHT, LARGEST_WEIGHT)
    target = None if objective.target is None else check_latent(world, objective.target)
    if not (objective.reward or objective.survival or (target is not None)):
        raise InvalidRequestError("the objective has no weight but 0: nothing to plan for")
    return replace(objective, target=target)


def reward_alone(objective: Objective) -> bool:
    """Tell whether it is the plain sum of rewards, which a device can take where the state is."""
    return objective.reward == 1 and not objective.survival and objective.target is None


class ReturnAccumulator:
    """What B futures have been worth so far, (B,) float64."""

    def __init__(self, world: World, objective: Objective, discount: float, rows: int) -> None:
        self._world, self._objective, self._discount = world, objective, discount
        self._weight, self._survived = 1.0, np.ones(rows)
        self.values: Values = np.zeros(rows)

    def add(self, moment: StepOutcome) -> None:
        """Count one more step; what is not finite counts as nothing."""
        wanted, earned = self._objective, np.zeros(len(self.values))
        if wanted.reward:
            earned += wanted.reward * np.where(moment.finite, moment.reward, 0.0)
        if wanted.survival:
            self._survived *= np.where(moment.alive, 1 - self._hazard(moment), 0.0)
            earned += wanted.survival * self._survived
        if wanted.target is not None:
            latent = np.where(moment.finite[:, None], moment.latent, np.float32(0))
            apart = np.square(latent - wanted.target, dtype=np.float64).mean(axis=1)
            earned -= wanted.target_weight * apart
        self.values += self._weight * earned
        self._weight *= self._discount

    def settled(self, moment: StepOutcome) -> bool:
        """Tell whether no step to come can change anything."""
        return self._objective.target is None and bool(moment.ended.all())

    def _hazard(self, moment: StepOutcome) -> Values:
        """Return σ(d), (B,); a future that is not finite is as good as dead."""
        logit = moment.output.done_logit.astype(np.float64) - self._world.spec.done.threshold
        hazard: Values = np.where(moment.finite, 0.5 * (1 + np.tanh(0.5 * logit)), 1.0)
        return hazard
