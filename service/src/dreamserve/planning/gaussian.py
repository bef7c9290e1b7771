"""Gaussian distributions over Box actions, independent for each of H steps and A components.

Actions outside the bounds are clipped, so candidates reach the bounds, where many optima lie; a
truncated Gaussian only approaches them. Deviations are multiples of half the distance between the
bounds, so for a Box of -1 to 1 they equal those of papers. Internally all numbers are fractions
from low (0) to high (1), so no bounds are too wide for float32.
"""

import numpy as np

from dreamserve.noise import NORMAL_QUANTILES
from dreamserve.planning.base import Actions, Array, Values
from dreamserve.spaces import BoxSpace, between

LEAST_STD = 2e-3  # as a multiple of half the distance between the bounds

_LAST = len(NORMAL_QUANTILES) - 1
# The scale of good actions relative to the bounds is unknown. So the first iteration's candidates
# have deviations that fall from the initial one to 2^-6.5 of it; those of the right scale become
# the elites. Later iterations vary the fitted deviation in the same way, over a narrower span.
_OCTAVES = 6.5
_NARROWING = 0.2  # factor of the span, from one iteration to the next
_SHARE_ABOVE = 0.6  # share of a later span that lies above the fitted deviation
_TINY = 1e-99  # replaces a width of 0, if the bounds are equal in float32


def normals(uniforms: Array) -> Array:
    """Return standard normals (…) for uniforms (…) in (0, 1), by inverse CDF."""
    index = (uniforms * np.float32(_LAST + 1)).astype(np.intp)
    return NORMAL_QUANTILES.take(index, mode="clip")  # a number below 1 may have been rounded to it


class Gaussian:
    """Mean (H, A) and deviation (H, A), float32, as fractions from low (0) to high (1).

    The mean starts at `warm` (H, A), or in the middle between the bounds if that is None.
    """

    def __init__(
        self, space: BoxSpace, horizon: int, warm: Actions | None, std: float, least_std: float
    ) -> None:
        self.low, self.high = space.bounds
        self.normals = len(self.low)  # numbers that `from_normals` takes for each step
        shape = (horizon, len(self.low))
        self.mean = np.full(shape, 0.5, np.float32) if warm is None else self._fractions(warm)
        self.std = np.full(shape, std / 2, np.float32)
        self.least = np.float32(least_std / 2)
        self.fits = 0  # number of fits
        self._scale: Array = np.ones(0, np.float32)  # (N,) of the candidates' deviations
        self._scaled = (-1, 0)  # the fits and the N that it is for

    def draw(self, uniforms: Array, first: int = 0, count: int | None = None) -> Actions:
        """Return actions (n, H, A) from uniforms (n, H, A), as `from_normals`."""
        return self.from_normals(normals(uniforms), first, count)

    def from_normals(self, normals: Array, first: int = 0, count: int | None = None) -> Actions:
        """Return actions (n, H, A) for standard normals (n, H, A), clipped to the bounds.

        They are those of the candidates from number `first` on, of `count`; by default, of all.
        """
        scale = self._scales(len(normals) if count is None else count)
        fractions = self.std * normals
        fractions *= scale[first : first + len(normals), None, None]
        fractions += self.mean
        return between(self.low, self.high, np.clip(fractions, 0, 1, out=fractions))

    def _scales(self, count: int) -> Array:
        """Return the factors (N,) of the deviations of N candidates."""
        if self._scaled != (self.fits, count):
            above = _SHARE_ABOVE if self.fits else 0
            octaves = _OCTAVES * _NARROWING**self.fits * (above - np.arange(count) / count)
            self._scale, self._scaled = np.exp2(octaves).astype(np.float32), (self.fits, count)
        return self._scale

    def centre(self) -> Actions:
        """Return the mean (H, A), which is within the bounds."""
        return between(self.low, self.high, self.mean)

    def fit(
        self, actions: Actions, weights: Values, momentum: float, steps: slice = slice(None)
    ) -> None:
        """Fit the mean to actions (E, H, A) under weights (E,), and the deviation to their distance
        from the old mean: while the mean still moves this is larger, so the deviation does not
        shrink too soon (Hansen 2016, The CMA evolution strategy, arXiv:1604.00772, on EMNA).

        `momentum` is the share of the old ones in the new; weights that are all 0 change nothing.
        `steps` are the H steps of the actions, by default all of them; the first ones come first.
        """
        total = weights.sum()
        if total == 0:
            return
        if not steps.start:
            self.fits += 1
        old_mean, old_std = self.mean[steps], self.std[steps]
        fractions, weight = self._fractions(actions), (weights / total).astype(np.float32)
        mean: Array = np.tensordot(weight, fractions, 1)
        std: Array = np.sqrt(np.tensordot(weight, np.square(fractions - old_mean), 1))
        keep = np.float32(momentum)
        self.mean[steps] = keep * old_mean + (1 - keep) * mean
        self.std[steps] = np.maximum(keep * old_std + (1 - keep) * std, self.least)

    def _fractions(self, actions: Actions) -> Array:
        """Return actions (…, A) as fractions from low to high, the inverse of `between`."""
        low = self.low.astype(np.float64)  # the difference of two float32 can overflow float32
        fractions: Array = ((actions - low) / np.maximum(self.high - low, _TINY)).astype(np.float32)
        return fractions
