"""Distributions over actions, given a policy's scores; their modes are `space.from_scores`.

    space                    distribution, for each component
    Discrete, MultiDiscrete  softmax of its choices' scores
    MultiBinary              1 with the probability sigmoid(score)
    Box                      a normal around the score, then tanh, between the bounds

`drawn` is what was drawn, (B, A): choices as int64, or numbers before tanh as float32. tanh is left
out of densities: its derivative is the same for every policy.
"""

from math import log, pi
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dreamserve.spaces import ActionSpace, BoxSpace, MultiBinarySpace


class Distribution(Protocol):
    """Draws actions by scores (B, width) and tells how likely they were."""

    def draw(self, scores: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what was drawn, (B, A), and the actions (B, *shape) of the space."""

    def log_prob(self, scores: Tensor, drawn: Tensor) -> Tensor:
        """Return the logarithm of the probability, or density, of each row, (B,)."""

    def entropy(self, scores: Tensor) -> Tensor:
        """Return the entropy of each row, (B,)."""


class Choices(nn.Module):
    """Of Discrete and MultiDiscrete."""

    def __init__(self, space: ActionSpace) -> None:
        super().__init__()
        self.shape, self.groups = space.shape, space.choice_groups

    def draw(self, scores: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw by the largest of the scores with Gumbel noise."""
        noise = torch.empty_like(scores).exponential_(generator=generator)
        noisy = scores - noise.clamp_min_(1e-30).log_()
        count = sum(len(group.components) for group in self.groups)
        drawn = torch.empty((len(scores), count), dtype=torch.int64, device=scores.device)
        for group in self.groups:
            drawn[:, group.components] = noisy[:, group.columns].argmax(dim=2)
        return drawn, drawn.reshape(len(scores), *self.shape)

    def log_prob(self, scores: Tensor, drawn: Tensor) -> Tensor:
        """Return the sum of the components' log probabilities."""
        total = scores.new_zeros(len(scores))
        for _, components, columns in self.groups:
            logs = functional.log_softmax(scores[:, columns], dim=-1)  # (B, K, n)
            total = total + logs.gather(2, drawn[:, components, None]).sum(dim=(1, 2))
        return total

    def entropy(self, scores: Tensor) -> Tensor:
        """Return the sum of the components' entropies."""
        total = scores.new_zeros(len(scores))
        for group in self.groups:
            logs = functional.log_softmax(scores[:, group.columns], dim=-1)
            total = total - (logs.exp() * logs).sum(dim=(1, 2))
        return total


class Bits(nn.Module):
    """Of MultiBinary."""

    def draw(self, scores: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw each bit; logistic noise decides."""
        uniform = torch.empty_like(scores).uniform_(generator=generator)
        drawn = (uniform < torch.sigmoid(scores)).long()
        return drawn, drawn

    def log_prob(self, scores: Tensor, drawn: Tensor) -> Tensor:
        """Return the sum of the bits' log probabilities."""
        return -functional.softplus(torch.where(drawn > 0, -scores, scores)).sum(dim=1)

    def entropy(self, scores: Tensor) -> Tensor:
        """Return the sum of the bits' entropies."""
        return (functional.softplus(scores) - scores * torch.sigmoid(scores)).sum(dim=1)


class Squashed(nn.Module):
    """Of a Box; the logarithm of the standard deviation of each component is learned."""

    def __init__(self, space: BoxSpace, std: float) -> None:
        super().__init__()
        self.space = space
        self.log_std = nn.Parameter(torch.full((space.width,), log(std)))

    def draw(self, scores: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw around the scores."""
        noise = torch.empty_like(scores).normal_(generator=generator)
        drawn = scores + self.log_std.detach().exp() * noise
        numbers = drawn.cpu().numpy()
        action = self.space.from_scores(numbers, np.isfinite(numbers).all(axis=1))
        return drawn, torch.from_numpy(action).to(drawn.device)

    def log_prob(self, scores: Tensor, drawn: Tensor) -> Tensor:
        """Return the log density before tanh."""
        scaled = (drawn - scores) * torch.exp(-self.log_std)
        return (-0.5 * scaled.square() - self.log_std - 0.5 * log(2 * pi)).sum(dim=1)

    def entropy(self, scores: Tensor) -> Tensor:
        """Return the entropy before tanh."""
        each = (self.log_std + 0.5 * log(2 * pi) + 0.5).sum()
        return each.expand(len(scores))


def distribution_of(space: ActionSpace, action_std: float) -> Choices | Bits | Squashed:
    """Return the distribution of the actions of `space`."""
    if isinstance(space, BoxSpace):
        return Squashed(space, action_std)
    return Bits() if isinstance(space, MultiBinarySpace) else Choices(space)
