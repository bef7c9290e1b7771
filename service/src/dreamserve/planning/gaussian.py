"""Box actions as Gaussians, independent for each of H steps and A components.

There are two ways to keep to the bounds. `draw` takes the part of the Gaussian between them;
`at` moves what falls outside onto them, so that a bound itself is reached and not only neared.
Deviations are told in halves of the bounds' distance: a Box of -1 to 1 has the numbers of papers.
"""

import numpy as np

from dreamserve.manifest import BoxSpace
from dreamserve.noise import NORMAL_QUANTILES
from dreamserve.planning.base import Actions, Array, Values, limits

_LAST = len(NORMAL_QUANTILES) - 1
_TINY = np.float32(1e-30)  # bounds that float32 cannot tell apart still have a deviation


def normals(uniforms: Array) -> Array:
    """Map uniforms in (0, 1) to standard normals, by their quantiles: (…) to (…)."""
    index = (uniforms * np.float32(_LAST + 1)).astype(np.intp)
    return NORMAL_QUANTILES.take(index, mode="clip")  # the largest uniform may have rounded to 1


class Gaussian:
    """A mean (H, A) and a deviation (H, A), float32; at `warm` (H, A), or between the bounds."""

    def __init__(
        self, space: BoxSpace, horizon: int, warm: Actions | None, std: float, least_std: float
    ) -> None:
        self.low, self.high = limits(space)
        half = np.maximum(self.high / 2 - self.low / 2, _TINY)
        self.least = np.float32(least_std) * half
        self.std = np.tile(np.float32(std) * half, (horizon, 1))
        self.mean = warm if warm is not None else np.tile(self.low + half, (horizon, 1))

    def draw(self, uniforms: Array) -> Actions:
        """Return actions (N, H, A), by inverse CDF between the bounds' quantiles."""
        first = np.searchsorted(NORMAL_QUANTILES, (self.low - self.mean) / self.std)
        last = np.searchsorted(NORMAL_QUANTILES, (self.high - self.mean) / self.std, side="right")
        index = first + (uniforms * (last - first).astype(np.float32)).astype(np.intp)
        return self.at(NORMAL_QUANTILES.take(index, mode="clip"))

    def at(self, scores: Array) -> Actions:
        """Return the actions at standard scores (N, H, A), clipped to the bounds."""
        actions: Actions = self.mean + self.std * scores
        np.clip(actions, self.low, self.high, out=actions)
        return actions

    def centre(self) -> Actions:
        """Return the mean (H, A), which is within the bounds."""
        centre: Actions = np.clip(self.mean, self.low, self.high)
        return centre

    def fit(self, actions: Actions, weights: Values, momentum: float) -> None:
        """Move to the mean and deviation of actions (E, H, A) under weights (E,).

        `momentum` is the share of the old that stays; all stays if no action has any weight.
        """
        total = weights.sum()
        if total == 0:
            return
        weight = (weights / total)[:, None, None]
        mean = (weight * actions).sum(axis=0)
        std = np.sqrt((weight * np.square(actions - mean)).sum(axis=0))
        mean, std = (
            (momentum * old + (1 - momentum) * new).astype(np.float32)
            for old, new in ((self.mean, mean), (self.std, std))
        )
        self.mean, self.std = mean, np.maximum(std, self.least)
