"""Box actions as Gaussians, independent for each of H steps and A components.

What falls outside the bounds is moved onto them, so that a bound itself is reached, where many an
optimum lies: a Gaussian cut off at its bounds only nears them.
Deviations are told in halves of the bounds' distance: a Box of -1 to 1 has the numbers of papers.
Inside, all is in shares of the way from low to high, so that no bounds are too wide for float32.
"""

import numpy as np

from dreamserve.noise import NORMAL_QUANTILES
from dreamserve.planning.base import Actions, Array, Values
from dreamserve.spaces import BoxSpace, between

LEAST_STD = 2e-3  # in halves of the bounds' distance

_LAST = len(NORMAL_QUANTILES) - 1
# Nothing tells how much of the bounds' distance matters. So the first candidates are ever less
# bold, down to 2^-6.5 of the deviation, and those of the right size are the elites. What was learnt
# from them is a first guess, to be tried bolder and less bold in its turn, ever less so.
_OCTAVES = 6.5
_NARROWING = 0.2  # the span's octaves, from one iteration to the next
_BOLDER = 0.6  # of a later span, above the deviation; the rest is below
_TINY = 1e-99  # instead of a width of 0, of bounds that float32 cannot tell apart


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
        bolder = _BOLDER if self.fits else 0
        octaves = _OCTAVES * _NARROWING**self.fits * (bolder - np.arange(len(scores)) / len(scores))
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
