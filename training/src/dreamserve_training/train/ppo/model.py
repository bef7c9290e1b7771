"""C, a linear policy or a small network, and its critic, which sees a dream's whole state."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dreamserve.manifest import WorldSpec
from dreamserve_training.models.controller import LayeredPolicy, policy_of
from dreamserve_training.models.networks import copy_layer, layers_of, linear_layers, network
from dreamserve_training.train.ppo.config import Features, LearningConfig
from dreamserve_training.train.ppo.distributions import distribution_of

_CHUNK_NUMBERS = 2**22  # of features that the critic sees at once


class ActorCritic(nn.Module):
    """The policy's scores and actions' distribution, and the critic.

    The policy starts as `initial` with its scores scaled, or with equal scores of all actions.
    ValueError if `initial` has other inputs or layers.
    """

    def __init__(
        self,
        spec: WorldSpec,
        features: Features,
        config: LearningConfig,
        initial: LayeredPolicy | None,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(config.seed)
        self.inputs, self.input_size = features.inputs, features.input_size
        hidden = [config.hidden] if config.hidden else []
        self.actor = network([self.input_size, *hidden, spec.action_space.width])
        self.critic = network([features.size, config.critic_size, 1])
        self.distribution = distribution_of(spec.action_space, config.action_std)
        for part in (self.critic, self.actor):
            _initialise(part, generator)
        if initial is not None:
            self._start_at(initial, config.scale_of_initial(spec.action_space))

    @torch.no_grad()
    def scores(self, inputs: Tensor) -> Tensor:
        """Return the scores (N, width) of what the policy sees, (N, F)."""
        scores: Tensor = self.actor(inputs)
        return scores

    @torch.no_grad()
    def values(self, features: Tensor) -> Tensor:
        """Return the critic's values (…) of states (…, F)."""
        rows = max(1, _CHUNK_NUMBERS // features.shape[-1])
        chunks = torch.split(features.reshape(-1, features.shape[-1]), rows)
        return torch.cat([self.value(chunk) for chunk in chunks]).reshape(features.shape[:-1])

    def value(self, features: Tensor) -> Tensor:
        """Return the critic's values (B,) of states (B, F)."""
        values: Tensor = self.critic(features)
        return values.squeeze(-1)

    def policy(self) -> LayeredPolicy:
        """Return the policy as it is served: its most likely actions."""
        return policy_of(layers_of(self.actor), self.inputs)

    def _start_at(self, initial: LayeredPolicy, scale: float) -> None:
        modules = linear_layers(self.actor)
        sizes = [layer.weights.shape[::-1] for layer in initial.layers]
        mine = [tuple(module.weight.shape[::-1]) for module in modules]
        if initial.inputs != self.inputs or sizes != mine:
            raise ValueError(
                f"the initial controller maps {initial.inputs} by {_named(sizes)}, this one"
                f" {self.inputs} by {_named(mine)}: they must be the same"
            )
        *first, last = zip(initial.layers, modules, strict=True)
        for layer, module in first:
            copy_layer(layer, module)
        copy_layer(*last, scale)


@torch.no_grad()
def _initialise(part: nn.Sequential, generator: torch.Generator) -> None:
    """Draw the weights of hidden layers, and let all outputs be 0."""
    *hidden, last = linear_layers(part)
    for layer in (*hidden, last):
        layer.weight.zero_()
        layer.bias.zero_()
    for layer in hidden:
        layer.weight.normal_(std=layer.in_features**-0.5, generator=generator)


def _named(sizes: Sequence[tuple[int, ...]]) -> str:
    """Return the layers' inputs and outputs in words, such as "a layer 12 → 3"."""
    arrows = [" → ".join(map(str, size)) for size in sizes]
    return f"{'a layer' if len(sizes) == 1 else 'layers'} {', '.join(arrows)}"
