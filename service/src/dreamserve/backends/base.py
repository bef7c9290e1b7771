"""What an engine asks of a device: three pure functions over batches of arrays.

Shapes (B is the batch, Z the latent size, K the mixture's components):

    encode(frames (B, H, W, C) float32)      → mu (B, Z), logvar (B, Z)
    decode(latent (B, Z))                    → frames (B, H, W, C) float32
    step(StepInput)                          → StepOutput

All arrays are C-contiguous and, but for discrete actions (int64), float32.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Actions = npt.NDArray[np.int64] | npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class StepInput:
    """One step of B dreams."""

    latent: Array  # (B, Z)
    action: Actions  # (B,) int64, or (B, *shape) float32
    state: tuple[Array, ...]  # (B, *shape) each, in the manifest's order
    temperature: Array  # (B,)
    noise: Array  # (B, normal + uniform)


@dataclass(frozen=True, slots=True, eq=False)
class StepOutput:
    """What the world answers."""

    latent: Array  # (B, Z)
    reward: Array  # (B,)
    done_logit: Array  # (B,)
    state: tuple[Array, ...]  # (B, *shape) each
    mixture_logits: Array  # (B, K) or (B, K, Z)
    mixture_mu: Array  # (B, K, Z)
    mixture_log_sigma: Array  # (B, K, Z), or (B, K) for isotropic


class Backend(Protocol):
    """The three graphs of one world on one device."""

    name: str

    def encode(self, frames: Array) -> tuple[Array, Array]:
        """Return the posterior's mu and logvar of each frame."""
        ...

    def step(self, batch: StepInput) -> StepOutput:
        """Advance every row by one step; rows never influence one another."""
        ...

    def decode(self, latent: Array) -> Array:
        """Return the frame that each latent stands for."""
        ...
