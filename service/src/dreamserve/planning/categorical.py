"""Categorical distributions over choices, independent for each of H steps and each component.

A rounded Gaussian would treat choice 1 as lying between choices 0 and 2.
"""

from math import prod
from statistics import NormalDist

import numpy as np

from dreamserve.planning.base import Actions, Array, Values
from dreamserve.spaces import Space

SMOOTHING = 0.5  # added to every action's count, so no action's probability becomes 0
WARM_SHARE = 0.5  # initial probability of the warm plan's actions; the rest is spread evenly

_CELLS, _REACH = 512, 6  # the table's cells per standard deviation, and its range of ±6 of them
_EXPONENTIALS = np.array(
    [-np.log(NormalDist().cdf(_REACH - (i + 0.5) / _CELLS)) for i in range(2 * _REACH * _CELLS)],
    np.float32,
)  # -ln P(Z > z) for z from -6 to 6: maps a standard normal to a standard exponential


class Categorical:
    """Probabilities (*places, n) of n choices: peaked at `warm` (*places), uniform if it is None.

    `places` is (H,) for Discrete actions and (H, K) for K components with n choices each.
    """

    def __init__(self, n: int, places: tuple[int, ...], warm: Actions | None) -> None:
        self.normals = n * prod(places[1:])  # numbers that `from_normals` takes for each step
        self.weights = np.full((*places, n), 1 / n)
        if warm is not None:
            self.weights *= 1 - WARM_SHARE
            self.weights += WARM_SHARE * (np.arange(n) == warm[..., None])

    def draw(self, uniforms: Array, first: int = 0, count: int | None = None) -> Actions:
        """Return int64 actions (N, *places) for uniforms of that shape in (0, 1), by inverse CDF.

        All candidates are drawn alike, whatever their numbers.
        """
        n, places = self.weights.shape[-1], prod(self.weights.shape[:-1])
        bounds = np.cumsum(self.weights, axis=-1)[..., :-1]  # the last is 1, up to rounding
        bounds, numbers = bounds.reshape(places, n - 1), uniforms.reshape(len(uniforms), places)
        actions = np.zeros(numbers.shape, np.int64)
        if n > places:  # either loop finds the number of bounds below
            for place, row in enumerate(bounds):
                actions[:, place] = np.searchsorted(row, numbers[:, place])
        else:
            for bound in bounds.T:
                actions += numbers > bound
        return actions.reshape(uniforms.shape)

    def from_normals(self, normals: Array, first: int = 0, count: int | None = None) -> Actions:
        """Return int64 actions (N, *places) for standard normals (N, *places, n), one per choice.

        Normals are mapped to exponential times, whose rates are the choices' probabilities; the
        one with the least time is taken. Choice a has probability weights[a], exactly, if the n
        normals are independent. Normals that change slowly along H repeat the same actions.
        """
        cells = (normals * np.float32(_CELLS) + np.float32(_REACH * _CELLS)).astype(np.intp)
        times = _EXPONENTIALS.take(cells, mode="clip") / self.weights.astype(np.float32)
        earliest: Actions = times.argmin(axis=-1)
        return earliest

    def centre(self) -> Actions:
        """Return the most likely choices (*places)."""
        most_likely: Actions = self.weights.argmax(axis=-1)
        return most_likely

    def fit(
        self, actions: Actions, weights: Values, momentum: float, steps: slice = slice(None)
    ) -> None:
        """Fit the probabilities to the weighted, smoothed counts of actions (E, *places), weights
        (E,).

        `steps` are the H steps of the actions; by default, all of them.

        `momentum` is the share of the old probabilities in the new ones; weights that are all 0
        change nothing. The counts add up to the effective sample size (Σ w)² / Σ w² (Kish 1965).
        """
        total = weights.sum()
        if total == 0:
            return
        old = self.weights[steps]
        places, n = prod(old.shape[:-1]), old.shape[-1]
        cells = (actions.reshape(len(actions), places) + n * np.arange(places)).ravel()
        sums = np.bincount(cells, np.repeat(weights, places), minlength=old.size)
        counts = sums.reshape(old.shape) * total / np.square(weights).sum() + SMOOTHING
        frequencies = counts / counts.sum(axis=-1, keepdims=True)
        self.weights[steps] = momentum * old + (1 - momentum) * frequencies


class Categoricals:
    """A categorical for each component of actions (H, A): one `Categorical` for each group of
    components with the same number of choices.
    """

    def __init__(self, space: Space, horizon: int, warm: Actions | None) -> None:
        self.normals = sum(space.choice_counts)  # numbers that `from_normals` takes for each step
        self._components = len(space.choice_counts)
        self._parts = []
        for group in space.choice_groups:
            near = None if warm is None else warm[:, group.components]
            categorical = Categorical(group.choices, (horizon, len(group.components)), near)
            self._parts.append((group, categorical))

    def draw(self, uniforms: Array, first: int = 0, count: int | None = None) -> Actions:
        """Return int64 actions (N, H, A) for uniforms (N, H, A) in (0, 1)."""
        actions = np.empty(uniforms.shape, np.int64)
        for group, part in self._parts:
            actions[..., group.components] = part.draw(uniforms[..., group.components])
        return actions

    def from_normals(self, normals: Array, first: int = 0, count: int | None = None) -> Actions:
        """Return int64 actions (N, H, A) for standard normals, one for each choice of each
        component: (N, H, normals).
        """
        actions = np.empty((*normals.shape[:2], self._components), np.int64)
        for group, part in self._parts:
            actions[..., group.components] = part.from_normals(normals[..., group.columns])
        return actions

    def centre(self) -> Actions:
        """Return the most likely actions (H, A)."""
        horizon = len(self._parts[0][1].weights)
        actions = np.empty((horizon, self._components), np.int64)
        for group, part in self._parts:
            actions[:, group.components] = part.centre()
        return actions

    def fit(
        self, actions: Actions, weights: Values, momentum: float, steps: slice = slice(None)
    ) -> None:
        """Fit each component to actions (E, H, A) and weights (E,), as `Categorical.fit`."""
        for group, part in self._parts:
            part.fit(actions[..., group.components], weights, momentum, steps)
