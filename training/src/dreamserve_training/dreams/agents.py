"""Agents that act on latents: random, constant, or a small network."""

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dreamserve_protocol.policies import AnyPolicy, ConstantPolicy, LinearPolicy, RandomPolicy

PolicyType = Literal["random", "constant", "neural"]


class DreamAgent:
    """An agent with `action_dim` Discrete actions, or a Box from `low` to `high` if not `discrete`.

    `random` draws uniformly from a generator seeded with `seed`. `constant` takes `action`.
    `neural` takes the action with the highest score of `network`, which maps latents (B, Z) to
    scores (B, action_dim); continuous actions are its outputs, scaled to the bounds by tanh. The
    default network has one hidden layer, takes latents of size `observation_dim`, and has random
    weights drawn with `seed`. Raises ValueError for invalid arguments.
    """

    def __init__(
        self,
        action_dim: int,
        policy_type: PolicyType = "random",
        *,
        action: Any = 0,
        network: nn.Module | None = None,
        observation_dim: int | None = None,
        hidden_size: int = 64,
        discrete: bool = True,
        low: npt.ArrayLike = -1.0,
        high: npt.ArrayLike = 1.0,
        seed: int = 0,
    ) -> None:
        if policy_type not in get_args(PolicyType):
            raise ValueError(f"policy_type must be one of {get_args(PolicyType)}: {policy_type!r}")
        if action_dim < 1:
            raise ValueError(f"action_dim must be at least 1, not {action_dim}")
        self.action_dim, self.policy_type, self.discrete = action_dim, policy_type, discrete
        self.low = np.broadcast_to(np.asarray(low, np.float32), (action_dim,))
        self.high = np.broadcast_to(np.asarray(high, np.float32), (action_dim,))
        self._rng = np.random.default_rng(seed)
        if policy_type == "constant":
            self._action = self._checked(action)
        if policy_type == "neural":
            if network is None:
                network = _small_network(observation_dim, hidden_size, action_dim, seed)
            self.network = network.eval()

    def policy(self) -> AnyPolicy:
        """Return this agent as a policy for `DreamRollout.evaluate`, which the engine runs.

        The bounds are then those of the world, and random actions depend on each dream's seed, not
        on the agent's. Raises ValueError for a network that is not a single linear layer.
        """
        if self.policy_type == "random":
            return RandomPolicy()
        if self.policy_type == "constant":
            return ConstantPolicy(self._action)
        layers = [*self.network] if isinstance(self.network, nn.Sequential) else [self.network]
        if len(layers) != 1 or not isinstance(layers[0], nn.Linear):
            raise ValueError("the engine runs linear policies only: use one nn.Linear as network")
        bias = None if layers[0].bias is None else layers[0].bias.detach().numpy()
        return LinearPolicy(layers[0].weight.detach().numpy(), bias, ("latent",))

    def act(self, observation: npt.ArrayLike | torch.Tensor) -> int | npt.NDArray[np.float32]:
        """Return the action for a latent (Z,): an int if discrete, else (action_dim,) float32."""
        if self.policy_type == "constant":
            return self._action
        if self.policy_type == "neural":
            return self._neural(observation)
        if self.discrete:
            return int(self._rng.integers(self.action_dim))
        return self._rng.uniform(self.low, self.high).astype(np.float32)

    @torch.inference_mode()
    def _neural(self, observation: npt.ArrayLike | torch.Tensor) -> int | npt.NDArray[np.float32]:
        latent = torch.as_tensor(observation, dtype=torch.float32)
        output = self.network(latent.unsqueeze(0))[0]
        if output.shape != (self.action_dim,):
            raise ValueError(
                f"the network must output ({self.action_dim},) scores, not {tuple(output.shape)}"
            )
        if self.discrete:
            return int(output.argmax())
        fraction = (torch.tanh(output).numpy() + 1) / 2
        action: npt.NDArray[np.float32] = self.low + fraction * (self.high - self.low)
        return action

    def _checked(self, action: Any) -> int | npt.NDArray[np.float32]:
        if self.discrete:
            if int(action) != action or not 0 <= action < self.action_dim:
                raise ValueError(f"action must be 0 to {self.action_dim - 1}, not {action}")
            return int(action)
        vector = np.broadcast_to(np.asarray(action, np.float32), (self.action_dim,))
        if not ((self.low <= vector) & (vector <= self.high)).all():
            raise ValueError(f"action must lie between {self.low} and {self.high}, not {action}")
        return vector.copy()


def _small_network(
    observation_dim: int | None, hidden_size: int, action_dim: int, seed: int
) -> nn.Module:
    if observation_dim is None:
        raise ValueError("a neural agent needs network or observation_dim")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(observation_dim, hidden_size), nn.Tanh(), nn.Linear(hidden_size, action_dim)
        )
