"""Discrete actions as categoricals, independent for each of H steps.

Never a rounded Gaussian: that would say that action 1 lies between actions 0 and 2.
"""

from statistics import NormalDist

import numpy as np

from dreamserve.planning.base import Actions, Array, Values

SMOOTHING = 0.5  # added to every action's count: no action ever becomes impossible
WARM_SHARE = 0.5  # of the first distribution lies on the warm plan, the rest is spread evenly

_CELLS, _REACH = 512, 6  # cells to a deviation, and deviations to each side, of the table below
_EXPONENTIALS = np.array(
    [-np.log(NormalDist().cdf(_REACH - (i + 0.5) / _CELLS)) for i in range(2 * _REACH * _CELLS)],
    np.float32,
)  # -ln P(Z > z) for z from -6 to 6: maps a standard normal to a standard exponential


class Categorical:
    """Probabilities (H, n) of n actions; peaked at `warm` (H,), or even without it."""

    def __init__(self, n: int, horizon: int, warm: Actions | None) -> None:
        self.weights = np.full((horizon, n), 1 / n)
        if warm is not None:
            self.weights *= 1 - WARM_SHARE
            self.weights[np.arange(horizon), warm] += WARM_SHARE

    def draw(self, uniforms: Array) -> Actions:
        """Return actions (N, H), by inverse CDF."""
        actions = np.zeros(uniforms.shape, np.int64)
        bounds = np.cumsum(self.weights, axis=1)[:, :-1]  # the last is 1, however it rounds
        for bound in bounds.T:
            actions += uniforms > bound
        return actions

    def at(self, scores: Array) -> Actions:
        """Return the actions (N, H) that standard scores (N, H, n), one an action, decide.

        Scores become exponential times, each at its action's rate, and the first one wins: action
        a with probability weights[a], exactly, if its n scores are independent. Scores that change
        slowly along the horizon make the same actions win for a while.
        """
        cells = (scores * np.float32(_CELLS) + np.float32(_REACH * _CELLS)).astype(np.intp)
        times = _EXPONENTIALS.take(cells, mode="clip") / self.weights.astype(np.float32)
        first: Actions = times.argmin(axis=2)
        return first

    def centre(self) -> Actions:
        """Return the likeliest action of each step (H,)."""
        likeliest: Actions = self.weights.argmax(axis=1)
        return likeliest

    def fit(self, actions: Actions, weights: Values, momentum: float) -> None:
        """Move to the smoothed frequencies in actions (E, H) under weights (E,).

        `momentum` is the share of the old that stays; all stays if no action has any weight.
        Weights w say as much as (Σ w)² / Σ w² even ones do (Kish 1965), so many counts they are.
        """
        total = weights.sum()
        if total == 0:
            return
        horizon, n = self.weights.shape
        cells = (actions + n * np.arange(horizon)).ravel()
        sums = np.bincount(cells, np.repeat(weights, horizon), minlength=horizon * n)
        counts = sums.reshape(horizon, n) * total / np.square(weights).sum() + SMOOTHING
        frequencies = counts / counts.sum(axis=1, keepdims=True)
        self.weights = momentum * self.weights + (1 - momentum) * frequencies
