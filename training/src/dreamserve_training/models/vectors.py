"""V for vectors: no network, only a scale. The latent is the observation itself, normalised."""

import math
from typing import Any

import torch
from torch import Tensor, nn

NOISE = 0.02  # standard deviation of the posterior, in units of the latent
LARGEST = 40_000.0  # of means and deviations, which bundles store in float16


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

        A number that never changes keeps its unit.
        """
        wide = vectors.double()
        mean, deviation = wide.mean(0), wide.std(0, correction=0)
        if (too_large := (mean.abs() > LARGEST) | (deviation > LARGEST)).any():
            index = int(too_large.nonzero()[0])
            raise ValueError(
                f"observation {index} has mean {mean[index]:g} and deviation {deviation[index]:g};"
                f" at most {LARGEST:g}: scale it (gymnasium.wrappers.TransformObservation)"
            )
        vision = cls(len(mean))
        vision.mean.copy_(mean.half())
        deviation = torch.where(deviation > 1e-4, deviation, torch.ones_like(deviation))
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
