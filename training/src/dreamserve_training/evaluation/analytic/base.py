"""What an analytic world is, and what all of them share.

None has a memory: its latent is its state. The next latent is one Gaussian, mean + sigma · sqrt(T)
· normal, and every number of it is one that float16 holds, because a bundle stores them so: the
reference and the graphs are of the very same world.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from dreamserve.backends.base import Array, StepInput, StepOutput
from dreamserve.bundle import Arrays
from dreamserve.manifest import (
    Crop,
    DoneRule,
    FrameSpec,
    MixtureSpec,
    NoiseSpec,
    RewardRule,
    WorldSpec,
)
from dreamserve.spaces import ActionSpace

Float64 = npt.NDArray[np.float64]

CERTAIN = -30.0  # log sigma of a world without noise: 1e-13, and still a finite density
STANDS_STILL = -1000.0  # a logvar whose sigma is exactly 0 in float32


class Optimum(NamedTuple):
    """The best sequence of actions there is."""

    value: float  # expected discounted sum of rewards, the first undiscounted
    actions: npt.NDArray[Any]  # (H,) int64 or (H, A) float64
    gap: float = 0.0  # proven: no sequence is worth more than value + gap


class AnalyticWorld(Protocol):
    """What `writing.write_world` can write. The step exists twice, in numpy and in torch."""

    reach: float  # pictures show latents from -reach to reach

    def spec(self, name: str) -> WorldSpec:
        """Return what the world called `name` is."""
        ...

    def bank(self) -> Arrays:
        """Return where dreams begin: mu, logvar (N, Z)."""
        ...

    def graph(self) -> nn.Module:
        """Return `step` as the manifest describes it, to be exported."""
        ...

    def step(self, batch: StepInput) -> StepOutput:
        """Return the same step, in numpy."""
        ...


def gaussian_spec(name: str, action_space: ActionSpace, latent_size: int) -> WorldSpec:
    """Return the spec of a world without memory whose next latent is one Gaussian."""
    frame = (1, latent_size, 3)  # a pixel for each latent dimension
    return WorldSpec(
        name=name,
        action_space=action_space,
        frame=FrameSpec(
            source_shape=frame,
            crop=Crop(top=0, bottom=1, left=0, right=latent_size),
            shape=frame,
        ),
        latent_size=latent_size,
        recurrent_state=(),
        mixture=MixtureSpec(head="joint", components=1),
        noise=NoiseSpec(normal=latent_size, uniform=0),
        temperature_rule="paper",
        done=DoneRule(),
        reward=RewardRule(kind="head"),
    )


def exact_bank(starts: npt.ArrayLike) -> Arrays:
    """Return a bank whose dreams begin at `starts` (N, Z) exactly."""
    mu = np.asarray(starts, np.float32)
    return {"mu": mu, "logvar": np.full_like(mu, STANDS_STILL)}


def draw(mean: Float64, log_sigma: Float64, batch: StepInput) -> Float64:
    """Return the next latents (B, Z) that the batch's noise stands for; mean, log_sigma (B, Z)."""
    scale = np.sqrt(batch.temperature.astype(np.float64))[:, None]
    drawn: Float64 = mean + np.exp(log_sigma) * scale * batch.noise
    return drawn


def step_output(
    latent: Float64, reward: Float64, done_logit: Float64, mean: Float64, log_sigma: Float64
) -> StepOutput:
    """Return a step's outputs in float32: (B, Z), (B,), (B,) and the Gaussian's (B, Z) twice."""
    single: list[Array] = [
        np.ascontiguousarray(part, np.float32)
        for part in (latent, reward, done_logit, mean[:, None], log_sigma[:, None])
    ]
    latent_, reward_, done_, mu, log_sigma_ = single
    return StepOutput(
        latent=latent_,
        reward=reward_,
        done_logit=done_,
        state=(),
        mixture_logits=np.zeros((len(latent_), 1), np.float32),
        mixture_mu=mu,
        mixture_log_sigma=log_sigma_,
    )


def as_stored(numbers: npt.ArrayLike) -> Float64:
    """Return the numbers that a bundle will hold for these: rounded to float16."""
    return np.asarray(numbers, np.float64).astype(np.float16).astype(np.float64)
