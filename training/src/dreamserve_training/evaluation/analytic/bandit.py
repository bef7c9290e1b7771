"""A bandit: arms with their own mean and noise, where the luckiest dream is not the best plan.

The latent is one number, the last reward: x' = mean[k] + sigma[k] · sqrt(T) · normal for arm k. An
arm of small mean and large sigma often has the highest single reward, so a planner that samples one
dream of each candidate picks it; one that samples many finds that it is worth less.
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
    """Arms of these means and (at temperature 1) sigmas, (A,) each, all sigmas positive.

    They are kept as float16 holds them, and sigmas as it holds their logarithms. By default one arm
    earns 1 almost surely and the other 1/2 with large noise, which is better in four steps of ten.
    """

    reach = 8.0

    def __init__(
        self, means: npt.ArrayLike = (1.0, 0.5), sigmas: npt.ArrayLike = (0.0625, 2.0)
    ) -> None:
        self.means, self.log_sigmas = as_stored(means), as_stored(np.log(sigmas))

    def value(self, actions: npt.ArrayLike, discount: float = 1.0) -> Float64:
        """Return the expected discounted sum of rewards (…) of actions (…, H) int."""
        earned = self.means[np.asarray(actions, np.int64)]
        total: Float64 = earned @ discount ** np.arange(earned.shape[-1])
        return total

    def best(self, horizon: int, discount: float = 1.0) -> Optimum:
        """Return the best sequence of `horizon` arms: the best arm, every time."""
        actions = np.full(horizon, np.argmax(self.means))
        return Optimum(float(self.value(actions, discount)), actions)

    def spec(self, name: str) -> WorldSpec:
        """Return what the world called `name` is."""
        names = tuple(f"arm {k}" for k in range(len(self.means)))
        return gaussian_spec(name, DiscreteSpace(n=len(names), names=names), 1)

    def bank(self) -> Arrays:
        """Return the one start, before any reward."""
        return exact_bank([[0.0]])

    def graph(self) -> nn.Module:
        """Return the step to be exported."""
        return _Step(self)

    def step(self, batch: StepInput) -> StepOutput:
        """Return the step, in numpy."""
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
