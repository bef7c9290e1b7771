"""The cross-entropy method (Rubinstein 1999; de Boer et al. 2005, A tutorial on the cross-entropy
method; for planning: Chua et al. 2018, arXiv:1805.12114).

Draw candidates from a distribution, keep the elites, fit the distribution to them, repeat. Box
actions come from truncated Gaussians, one for each step and component; Discrete actions from a
categorical for each step, fitted by smoothed counts. The answer is the best candidate met.
"""

from statistics import NormalDist

import numpy as np

from dreamserve.manifest import ActionSpace, BoxSpace, DiscreteSpace
from dreamserve.planning.base import (
    Actions,
    Array,
    Plan,
    Planner,
    Uniform,
    Values,
    better,
    sequence_shape,
)

ELITE_SHARE = 0.1
MOMENTUM = 0.1  # how much of the old distribution stays
SMOOTHING = 0.5  # added to every action's count: no action ever becomes impossible
LEAST_STD = 1e-3  # of the bounds' distance
_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)], np.float32)


def cem(
    space: ActionSpace, horizon: int, candidates: int, iterations: int, uniform: Uniform
) -> Planner:
    """Plan in `iterations` of `candidates` sequences of `horizon` actions."""
    shape = sequence_shape(space, candidates, horizon)
    family = (
        Categorical(space.n, horizon)
        if isinstance(space, DiscreteSpace)
        else TruncatedGaussian(space, horizon)
    )
    elites = max(2, round(ELITE_SHARE * candidates))
    best: Plan | None = None
    for iteration in range(iterations):
        actions = family.draw(uniform(iteration, shape))
        values: Values = yield actions
        best = better(best, actions, values, iteration)
        order = np.argsort(-values, kind="stable")[:elites]
        order = order[np.isfinite(values[order])]
        if len(order):
            family.fit(actions[order])
    assert best is not None  # there is at least one iteration
    return best


class Categorical:
    """A distribution over n actions for each of H steps."""

    def __init__(self, n: int, horizon: int) -> None:
        self.weights = np.full((horizon, n), 1 / n)

    def draw(self, uniforms: Array) -> Actions:
        """Return actions (N, H) by inverse CDF."""
        below = np.cumsum(self.weights, axis=1)[:, :-1]  # the last bound is 1, however it rounds
        drawn: Actions = (uniforms[:, :, None] > below).sum(axis=2)
        return drawn

    def fit(self, elites: Actions) -> None:
        """Move to the elites' (E, H) frequencies."""
        n = self.weights.shape[1]
        counts = (elites[:, :, None] == np.arange(n)).sum(axis=0) + SMOOTHING  # (H, n)
        frequencies = counts / counts.sum(axis=1, keepdims=True)
        self.weights = MOMENTUM * self.weights + (1 - MOMENTUM) * frequencies


class TruncatedGaussian:
    """A Gaussian for each of H steps and A components, truncated to the space's bounds."""

    def __init__(self, space: BoxSpace, horizon: int) -> None:
        self.low, self.high = np.array(space.low, np.float32), np.array(space.high, np.float32)
        self.mean = np.tile((self.low + self.high) / 2, (horizon, 1))  # (H, A)
        self.std = np.tile((self.high - self.low) / 2, (horizon, 1))

    def draw(self, uniforms: Array) -> Actions:
        """Return actions (N, H, A) by inverse CDF between the bounds' quantiles."""
        first = np.searchsorted(_QUANTILES, (self.low - self.mean) / self.std)
        last = np.searchsorted(_QUANTILES, (self.high - self.mean) / self.std, side="right")
        index = first + (uniforms * (last - first)).astype(np.int64)
        scores = _QUANTILES[np.minimum(index, len(_QUANTILES) - 1)]
        # Clipped as well: rounding, and a mean beyond the quantiles' reach of a bound.
        drawn: Actions = np.clip(self.mean + self.std * scores, self.low, self.high)
        return drawn.astype(np.float32)

    def fit(self, elites: Actions) -> None:
        """Move to the mean and deviation of the elites (E, H, A)."""
        mean = elites.mean(axis=0, dtype=np.float32)
        std = elites.std(axis=0, dtype=np.float32)
        self.mean = MOMENTUM * self.mean + (1 - MOMENTUM) * mean
        least = LEAST_STD * (self.high - self.low)
        self.std = np.maximum(MOMENTUM * self.std + (1 - MOMENTUM) * std, least)
