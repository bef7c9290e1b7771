"""A multi-armed bandit, in which the highest sampled return is not that of the best plan.

The latent is one number, the last reward: x' = mean[k] + sigma[k] · sqrt(T) · normal for arm k. An
arm with a small mean and a large sigma often has the highest single reward, so a planner that
samples one dream per candidate chooses it; one that averages many dreams does not.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.bundle import Arrays
from dreamserve.manifest import WorldSpec
from dreamserve.spaces import DiscreteSpace
from dreamserve_training.evaluation.analytic.base import (
    Float64,
    Optimum,
    as_stored,
    draw,
    exact_bank,
    gaussian_spec,
    step_output,
)
from dreamserve_training.export.graphs import NEVER_DONE


class Bandit:
    """Arms with the given means and, at T = 1, positive sigmas, (A,) each.

    Means and logarithms of sigmas are rounded to float16. By default the first arm earns about 1
    and the second 1/2 with large noise, so the second earns more in four of ten steps.
    """

    reach = 8.0

    def __init__(
        self, means: npt.ArrayLike = (1.0, 0.5), sigmas: npt.ArrayLike = (0.0625, 2.0)
    ) -> None:
        self.means, self.log_sigmas = as_stored(means), as_stored(np.log(sigmas))

    def value(self, actions: npt.ArrayLike, discount: float = 1.0) -> Float64:
        """Return the expected discounted sum of rewards (…) of `actions` (…, H) int."""
        rewards = self.means[np.asarray(actions, np.int64)]
        total: Float64 = rewards @ discount ** np.arange(rewards.shape[-1])
        return total

    def best(self, horizon: int, discount: float = 1.0) -> Optimum:
        """Return the best sequence of `horizon` actions: always the arm of the largest mean."""
        actions = np.full(horizon, np.argmax(self.means))
        return Optimum(float(self.value(actions, discount)), actions)

    def spec(self, name: str) -> WorldSpec:
        """Return the spec of the world, called `name`."""
        names = tuple(f"arm {k}" for k in range(len(self.means)))
        return gaussian_spec(name, DiscreteSpace(n=len(names), names=names), 1)

    def bank(self) -> Arrays:
        """Return the only start, the latent 0."""
        return exact_bank([[0.0]])

    def graph(self) -> nn.Module:
        """Return the step in torch, to be exported."""
        return _Step(self)

    def step(self, batch: StepInput) -> StepOutput:
        """Return the step's outputs, computed in numpy."""
        mean, log_sigma = (part[batch.action][:, None] for part in (self.means, self.log_sigmas))
        latent = draw(mean, log_sigma, batch)
        reward = latent[:, 0]
        return step_output(latent, reward, np.full_like(reward, NEVER_DONE), mean, log_sigma)


class _Step(nn.Module):
    """The step in torch."""

    means: Tensor
    log_sigmas: Tensor

    def __init__(self, world: Bandit) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(world.means, dtype=torch.float32))
        self.register_buffer("log_sigmas", torch.tensor(world.log_sigmas, dtype=torch.float32))

    def forward(
        self, latent: Tensor, action: Tensor, temperature: Tensor, noise: Tensor
    ) -> tuple[Tensor, ...]:
        mean, log_sigma = self.means[action][:, None], self.log_sigmas[action][:, None]
        drawn = mean + torch.exp(log_sigma) * torch.sqrt(temperature)[:, None] * noise
        reward = drawn[:, 0]
        never, logits = torch.full_like(reward, NEVER_DONE), torch.zeros_like(mean)
        return drawn, reward, never, logits, mean[:, None], log_sigma[:, None]
