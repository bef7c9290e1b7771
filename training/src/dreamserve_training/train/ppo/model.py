"""C, a linear policy, and its critic, which sees the whole state of a dream."""

from math import prod

import torch
from torch import Tensor, nn

from dreamserve.backends.base import Array
from dreamserve.manifest import WorldSpec
from dreamserve_training.models.controller import LinearPolicy
from dreamserve_training.train.ppo.config import Features, PPOConfig
from dreamserve_training.train.ppo.distributions import distribution_of

_CHUNK_NUMBERS = 2**22  # of features that the critic sees at once


class ActorCritic(nn.Module):
    """The policy's scores and actions' distribution, and the critic.

    The policy starts as `initial` with its weights scaled, or with equal scores of all actions.
    ValueError if `initial` does not fit the world.
    """

    def __init__(
        self, spec: WorldSpec, features: Features, config: PPOConfig, initial: LinearPolicy | None
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(config.seed)
        self.inputs, self.input_size = features.inputs, features.input_size
        self.actor = nn.Linear(self.input_size, spec.action_space.width)
        hidden = nn.Linear(features.size, config.critic_size)
        self.critic = nn.Sequential(hidden, nn.Tanh(), nn.Linear(config.critic_size, 1))
        self.distribution = distribution_of(spec.action_space, config.action_std)
        with torch.no_grad():
            for layer in (self.actor, self.critic[2]):
                layer.weight.zero_()
                layer.bias.zero_()
            hidden.bias.zero_()
            hidden.weight.normal_(std=features.size**-0.5, generator=generator)
            if initial is not None:
                self._start_at(initial, config.initial_scale)

    def scores(self, inputs: Array) -> Array:
        """Return the scores (N, width) of what the policy sees, (N, F)."""
        with torch.inference_mode():
            return self.actor(torch.from_numpy(inputs)).numpy()

    def values(self, features: Array) -> Array:
        """Return the critic's values (…) of states (…, F)."""
        flat = features.reshape(prod(features.shape[:-1]), features.shape[-1])
        rows = max(1, _CHUNK_NUMBERS // features.shape[-1])
        with torch.inference_mode():
            chunks = [self.value(chunk) for chunk in torch.from_numpy(flat).split(rows)]
            values: Array = torch.cat(chunks).numpy().reshape(features.shape[:-1])
        return values

    def value(self, features: Tensor) -> Tensor:
        """Return the critic's values (B,) of states (B, F)."""
        return self.critic(features).squeeze(-1)

    def policy(self) -> LinearPolicy:
        """Return the policy as it is served: its most likely actions."""
        weights, bias = (part.detach().numpy().copy() for part in self.actor.parameters())
        return LinearPolicy(weights, bias, self.inputs)

    def _start_at(self, initial: LinearPolicy, scale: float) -> None:
        if initial.inputs != self.inputs or initial.weights.shape != self.actor.weight.shape:
            raise ValueError(
                f"the initial controller maps {initial.inputs} {initial.weights.shape[::-1]},"
                f" this one {self.inputs} {tuple(self.actor.weight.shape)[::-1]}"
            )
        self.actor.weight.copy_(torch.from_numpy(scale * initial.weights))
        self.actor.bias.copy_(torch.from_numpy(scale * initial.bias))
