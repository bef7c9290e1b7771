"""C, a linear policy, and its critic, which sees the whole state of a dream."""

import torch
from torch import Tensor, nn

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

    @torch.no_grad()
    def scores(self, inputs: Tensor) -> Tensor:
        """Return the scores (N, width) of what the policy sees, (N, F)."""
        return self.actor(inputs)

    @torch.no_grad()
    def values(self, features: Tensor) -> Tensor:
        """Return the critic's values (…) of states (…, F)."""
        rows = max(1, _CHUNK_NUMBERS // features.shape[-1])
        chunks = features.reshape(-1, features.shape[-1]).split(rows)
        return torch.cat([self.value(chunk) for chunk in chunks]).reshape(features.shape[:-1])

    def value(self, features: Tensor) -> Tensor:
        """Return the critic's values (B,) of states (B, F)."""
        return self.critic(features).squeeze(-1)

    def policy(self) -> LinearPolicy:
        """Return the policy as it is served: its most likely actions."""
        weights, bias = (part.detach().cpu().numpy().copy() for part in self.actor.parameters())
        return LinearPolicy(weights, bias, self.inputs)

    def _start_at(self, initial: LinearPolicy, scale: float) -> None:
        if initial.inputs != self.inputs or initial.weights.shape != self.actor.weight.shape:
            raise ValueError(
                f"the initial controller maps {initial.inputs} {initial.weights.shape[::-1]},"
                f" this one {self.inputs} {tuple(self.actor.weight.shape)[::-1]}"
            )
        self.actor.weight.copy_(torch.from_numpy(scale * initial.weights))
        self.actor.bias.copy_(torch.from_numpy(scale * initial.bias))
