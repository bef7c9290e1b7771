"""The interface of analytic worlds, and their common parts.

They have no recurrent state: the latent is the state. The next latent is one Gaussian, mean + sigma
· sqrt(T) · normal. All parameters are rounded to float16, as a bundle stores them, so the reference
and the graphs compute the same world.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from dreamserve.backends.base import Array, StepInput, StepOutput
from dreamserve.bundle import Arrays
from dreamserve.heads import GaussianMixture
from dreamserve.manifest import DoneRule, NoiseSpec, RewardRule, WorldSpec
from dreamserve.observations import Crop, FrameSpec
from dreamserve.spaces import ActionSpace

Float64 = npt.NDArray[np.float64]

NO_NOISE_LOG_SIGMA = -30.0  # sigma = 1e-13, so the density is still finite
ZERO_SIGMA_LOGVAR = -1000.0  # its sigma is exactly 0 in float32


class Optimum(NamedTuple):
    """The best sequence of actions."""

    value: float  # expected discounted sum of rewards, the first undiscounted
    actions: npt.NDArray[Any]  # (H,) int64 or (H, A) float64
    gap: float = 0.0  # proven: no sequence has a value above value + gap


class AnalyticWorld(Protocol):
    """A world for `writing.write_world`. Its step is implemented twice, in numpy and torch."""

    reach: float  # frames show latents in [-reach, reach]

    def spec(self, name: str) -> WorldSpec:
        """Return the spec of the world, called `name`."""
        ...

    def bank(self) -> Arrays:
        """Return the bank: mu, logvar (N, Z)."""
        ...

    def graph(self) -> nn.Module:
        """Return the step in torch, with the manifest's signature, to be exported."""
        ...

    def step(self, batch: StepInput) -> StepOutput:
        """Return the step's outputs, computed in numpy."""
        ...


def gaussian_spec(name: str, action_space: ActionSpace, latent_size: int) -> WorldSpec:
    """Return the spec of a world without recurrent state whose next latent is one Gaussian."""
    frame = (1, latent_size, 3)  # one pixel per latent dimension
    return WorldSpec(
        name=name,
        action_space=action_space,
        observation=FrameSpec(
            source_shape=frame,
            crop=Crop(top=0, bottom=1, left=0, right=latent_size),
            shape=frame,
        ),
        latent_size=latent_size,
        recurrent_state=(),
        head=GaussianMixture(form="joint", components=1),
        noise=NoiseSpec(normal=latent_size, uniform=0),
        temperature_rule="paper",
        done=DoneRule(),
        reward=RewardRule(kind="head"),
    )


def exact_bank(starts: npt.ArrayLike) -> Arrays:
    """Return a bank whose dreams start exactly at `starts` (N, Z)."""
    mu = np.asarray(starts, np.float32)
    return {"mu": mu, "logvar": np.full_like(mu, ZERO_SIGMA_LOGVAR)}


def draw(mean: Float64, log_sigma: Float64, batch: StepInput) -> Float64:
    """Return the next latents (B, Z), drawn with the batch's noise; mean, log_sigma: (B, Z)."""
    scale = np.sqrt(batch.temperature.astype(np.float64))[:, None]
    drawn: Float64 = mean + np.exp(log_sigma) * scale * batch.noise
    return drawn


def step_output(
    latent: Float64, reward: Float64, done_logit: Float64, mean: Float64, log_sigma: Float64
) -> StepOutput:
    """Return float32 outputs; latent, mean, log_sigma (B, Z), reward and done_logit (B,)."""
    parts: list[Array] = [
        np.ascontiguousarray(part, np.float32)
        for part in (latent, reward, done_logit, mean[:, None], log_sigma[:, None])
    ]
    latent_, reward_, done_, mu, log_sigma_ = parts
    return StepOutput(
        latent=latent_,
        reward=reward_,
        done_logit=done_,
        state=(),
        head=(np.zeros((len(latent_), 1), np.float32), mu, log_sigma_),
    )


def as_stored(numbers: npt.ArrayLike) -> Float64:
    """Return `numbers` rounded to float16, as a bundle stores them, in float64."""
    return np.asarray(numbers, np.float64).astype(np.float16).astype(np.float64)
