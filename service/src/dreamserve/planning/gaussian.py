"""Box actions as Gaussians, independent for each of H steps and A components.

Actions outside the bounds are clipped, so that the bounds themselves are reached, where many optima
lie; a truncated Gaussian only approaches them. Deviations are multiples of half the distance
between the bounds, so for a Box of -1 to 1 they equal those of papers. Internally all numbers are
fractions from low (0) to high (1), so that no bounds are too wide for float32.
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
_SHARE_ABOVE = 0.6  # of a later span, above the deviation; the rest is below
_TINY = 1e-99  # replaces a width of 0, of bounds that are equal in float32


def normals(uniforms: Array) -> Array:
    """Map uniforms in (0, 1) to standard normals, by their quantiles: (…) to (…)."""
    index = (uniforms * np.float32(_LAST + 1)).astype(np.intp)
    return NORMAL_QUANTILES.take(index, mode="clip")  # the largest uniform may have rounded to 1


class Gaussian:
    """A mean (H, A) and a deviation (H, A), float32; at `warm` (H, A), or between the bounds.

    Both are shares of the way from low (0) to high (1).
    """

    def __init__(
        self, space: BoxSpace, horizon: int, warm: Actions | None, std: float, least_std: float
    ) -> None:
        self.low, self.high = space.bounds
        shape = (horizon, len(self.low))
        self.mean = np.full(shape, 0.5, np.float32) if warm is None else self._shares(warm)
        self.std = np.full(shape, std / 2, np.float32)
        self.least = np.float32(least_std / 2)
        self.fits = 0  # how often it was fitted

    def draw(self, uniforms: Array) -> Actions:
        """Return actions (N, H, A) from uniforms (N, H, A)."""
        return self.at(normals(uniforms))

    def at(self, scores: Array) -> Actions:
        """Return the actions at standard scores (N, H, A), clipped to the bounds."""
        above = _SHARE_ABOVE if self.fits else 0
        octaves = _OCTAVES * _NARROWING**self.fits * (above - np.arange(len(scores)) / len(scores))
        shares = self.std * scores
        shares *= np.exp2(octaves).astype(np.float32)[:, None, None]
        shares += self.mean
        return between(self.low, self.high, np.clip(shares, 0, 1, out=shares))

    def centre(self) -> Actions:
        """Return the mean (H, A), which is within the bounds."""
        return between(self.low, self.high, self.mean)

    def fit(self, actions: Actions, weights: Values, momentum: float) -> None:
        """Move to the mean of actions (E, H, A) under weights (E,), and to their deviation from the
        old mean, which is larger where they lead on, so that it does not shrink too soon (Hansen
        2016, The CMA evolution strategy: a tutorial, arXiv:1604.00772, on EMNA).

        `momentum` is the share of the old that stays; all stays if no action has any weight.
        """
        total = weights.sum()
        if total == 0:
            return
        shares, weight = self._shares(actions), (weights / total).astype(np.float32)
        mean: Array = np.tensordot(weight, shares, 1)
        std: Array = np.sqrt(np.tensordot(weight, np.square(shares - self.mean), 1))
        keep = np.float32(momentum)
        self.fits += 1
        self.mean = keep * self.mean + (1 - keep) * mean
        self.std = np.maximum(keep * self.std + (1 - keep) * std, self.least)

    def _shares(self, actions: Actions) -> Array:
        """Undo `between`: (…, A) to (…, A)."""
        low = self.low.astype(np.float64)  # which has room for any distance of float32s
        shares: Array = ((actions - low) / np.maximum(self.high - low, _TINY)).astype(np.float32)
        return shares
