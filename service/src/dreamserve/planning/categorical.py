"""Categorical distributions over Discrete actions, independent for each of H steps.

A rounded Gaussian would treat action 1 as lying between actions 0 and 2.
"""

from statistics import NormalDist

import numpy as np

from dreamserve.planning.base import Actions, Array, Values

SMOOTHING = 0.5  # added to every action's count, so no action's probability becomes 0
WARM_SHARE = 0.5  # initial probability of the warm plan's actions; the rest is spread evenly

_CELLS, _REACH = 512, 6  # the table's cells per standard deviation, and its range of ±6 of them
_EXPONENTIALS = np.array(
    [-np.log(NormalDist().cdf(_REACH - (i + 0.5) / _CELLS)) for i in range(2 * _REACH * _CELLS)],
    np.float32,
)  # -ln P(Z > z) for z from -6 to 6: maps a standard normal to a standard exponential


class Categorical:
    """Probabilities (H, n) of n actions: peaked at `warm` (H,), or uniform if it is None."""

    def __init__(self, n: int, horizon: int, warm: Actions | None) -> None:
        self.weights = np.full((horizon, n), 1 / n)
        if warm is not None:
            self.weights *= 1 - WARM_SHARE
            self.weights[np.arange(horizon), warm] += WARM_SHARE

    def draw(self, uniforms: Array, first: int = 0, count: int | None = None) -> Actions:
        """Return int64 actions (N, H) for uniforms (N, H) in (0, 1), by inverse CDF.

        All candidates are drawn alike, whatever their numbers.
        """
        actions = np.zeros(uniforms.shape, np.int64)
        bounds = np.cumsum(self.weights, axis=1)[:, :-1]  # the last is 1, up to rounding
        for bound in bounds.T:
            actions += uniforms > bound
        return actions

    def from_normals(self, normals: Array, first: int = 0, count: int | None = None) -> Actions:
        """Return int64 actions (N, H) for standard normals (N, H, n), one for each action.

        Normals are mapped to exponential times, whose rates are the actions' probabilities; the
        action with the least time is chosen. It has probability weights[a], exactly, if the n
        normals are independent. Normals that change slowly along H repeat the same actions.
        """
        cells = (normals * np.float32(_CELLS) + np.float32(_REACH * _CELLS)).astype(np.intp)
        times = _EXPONENTIALS.take(cells, mode="clip") / self.weights.astype(np.float32)
        earliest: Actions = times.argmin(axis=2)
        return earliest

    def centre(self) -> Actions:
        """Return the most likely action of each step (H,)."""
        most_likely: Actions = self.weights.argmax(axis=1)
        return most_likely

    def fit(
        self, actions: Actions, weights: Values, momentum: float, steps: slice = slice(None)
    ) -> None:
        """Fit the probabilities to the weighted, smoothed counts of actions (E, H), weights (E,).

        `steps` are the H steps of the actions; by default, all of them.

        `momentum` is the share of the old probabilities in the new ones; weights that are all 0
        change nothing. The counts add up to the effective sample size (Σ w)² / Σ w² (Kish 1965).
        """
        total = weights.sum()
        if total == 0:
            return
        old = self.weights[steps]
        horizon, n = old.shape
        cells = (actions + n * np.arange(horizon)).ravel()
        sums = np.bincount(cells, np.repeat(weights, horizon), minlength=horizon * n)
        counts = sums.reshape(horizon, n) * total / np.square(weights).sum() + SMOOTHING
        frequencies = counts / counts.sum(axis=1, keepdims=True)
        self.weights[steps] = momentum * old + (1 - momentum) * frequencies
