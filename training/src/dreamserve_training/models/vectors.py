"""V for vectors: no network, only a scale. The latent is the observation itself, normalised."""

import logging
import math
from typing import Any

import torch
from torch import Tensor, nn

NOISE = 0.02  # standard deviation of the posterior, in units of the latent
LARGEST = 40_000.0  # of means and deviations, which bundles store in float16


SMALLEST = 1e-4  # deviation that is scaled; a number that changes less keeps its unit
ROUNDING = 1e-6  # relative error of float32, in which observations are stored

logger = logging.getLogger("dreamserve_training")


class VectorScale(nn.Module):
    """z = (x - mean) / scale for vectors x (n,), with a narrow Gaussian around it.

    The noise of the posterior keeps M's density finite where the environment is deterministic, and
    teaches M to correct small errors of its own. A scale is a power of two near the standard
    deviation, and means are rounded to float16, so that bundles store both exactly.
    """

    mean: Tensor  # (n,)
    scale: Tensor  # (n,)

    def __init__(self, n: int) -> None:
        super().__init__()
        if n < 1:
            raise ValueError(f"a vector has at least one number, not {n}")
        self.z_dim = n
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("scale", torch.ones(n))

    @classmethod
    def fitted(cls, vectors: Tensor) -> "VectorScale":
        """Return the scale of `vectors` (N, n). ValueError, which names the number, if it is large.

        A number that never changes keeps its unit. One that changes too little to be seen is
        logged.
        """
        wide = vectors.double()
        mean, deviation = wide.mean(0), wide.std(0, correction=0)
        if (too_large := (mean.abs() > LARGEST) | (deviation > LARGEST)).any():
            index = int(too_large.nonzero()[0])
            raise ValueError(
                f"observation {index} has mean {mean[index]:g} and deviation {deviation[index]:g};"
                f" at most {LARGEST:g}: scale it (gymnasium.wrappers.TransformObservation)"
            )
        _warn_of_the_unseen(mean, deviation)
        vision = cls(len(mean))
        vision.mean.copy_(mean.half())
        deviation = torch.where(deviation > SMALLEST, deviation, torch.ones_like(deviation))
        vision.scale.copy_(2.0 ** deviation.log2().round())
        return vision.eval()

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"n": self.z_dim}

    def encode(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar (B, n) of `vectors` (B, n). ValueError for another shape."""
        if tuple(vectors.shape[1:]) != (self.z_dim,):
            raise ValueError(f"vectors must be (B, {self.z_dim}), not {tuple(vectors.shape)}")
        mu = (vectors - self.mean) / self.scale
        return mu, self.logvar(mu)

    def logvar(self, mu: Tensor) -> Tensor:
        """Return the posterior's logvar, the same everywhere."""
        return torch.full_like(mu, 2 * math.log(NOISE))

    def decode(self, z: Tensor) -> Tensor:
        """Return the vectors (B, n) of `z` (B, n)."""
        vectors: Tensor = z * self.scale + self.mean
        return vectors


def _warn_of_the_unseen(mean: Tensor, deviation: Tensor) -> None:
    """Log the numbers whose changes are small beside 1, or beside the rounding of their mean."""
    changes = deviation > ROUNDING * mean.abs()
    is_small = (deviation <= SMALLEST) | ((mean - mean.half()).abs() > deviation)
    for index in (changes & is_small).nonzero().flatten().tolist():
        logger.warning(
            "observation %d has mean %g and deviation %g, so M hardly sees it change: take off its"
            " offset, or scale it (gymnasium.wrappers.TransformObservation)",
            index,
            mean[index],
            deviation[index],
        )
