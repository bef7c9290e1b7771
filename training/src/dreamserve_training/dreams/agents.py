"""Agents that act on latents: random, constant, or a small network."""

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dreamserve.spaces import ActionSpace, BoxSpace, DiscreteSpace
from dreamserve_protocol.policies import AnyPolicy, ConstantPolicy, LinearPolicy, RandomPolicy
from dreamserve_training.models.controller import Float32, Policy

PolicyType = Literal["random", "constant", "neural"]


class DreamAgent:
    """An agent with `action_dim` Discrete actions, or a Box from `low` to `high` if not `discrete`,
    or the actions of another `space`.

    `random` draws uniformly from a generator seeded with `seed`. `constant` takes `action`.
    `neural` takes the action of the scores (B, space.width) of `network`, which maps latents
    (B, Z) to them: the best choice of each component, or numbers between the bounds by tanh
    (`dreamserve.spaces`). The default network has one hidden layer, takes latents of size
    `observation_dim`, and has random weights drawn with `seed`. Raises ValueError for invalid
    arguments.
    """

    def __init__(
        self,
        action_dim: int | None = None,
        policy_type: PolicyType = "random",
        *,
        action: Any = 0,
        network: nn.Module | None = None,
        observation_dim: int | None = None,
        hidden_size: int = 64,
        discrete: bool = True,
        low: npt.ArrayLike = -1.0,
        high: npt.ArrayLike = 1.0,
        space: ActionSpace | None = None,
        seed: int = 0,
    ) -> None:
        if policy_type not in get_args(PolicyType):
            raise ValueError(f"policy_type must be one of {get_args(PolicyType)}: {policy_type!r}")
        if space is None:
            space = _space(action_dim, discrete, low, high)
        self.space, self.policy_type = space, policy_type
        self._rng = np.random.default_rng(seed)
        if policy_type == "constant":
            self._action = self._checked(action)
        if policy_type == "neural":
            if network is None:
                network = _small_network(observation_dim, hidden_size, space.width, seed)
            self.network = network.eval()

    def policy(self) -> AnyPolicy | Policy:
        """Return this agent as a policy for `DreamRollout.evaluate`.

        The bounds are then those of the world, and random actions depend on each dream's seed, not
        on the agent's.
        """
        if self.policy_type == "random":
            return RandomPolicy()
        if self.policy_type == "constant":
            return ConstantPolicy(self._action)
        layers = [*self.network] if isinstance(self.network, nn.Sequential) else [self.network]
        if len(layers) != 1 or not isinstance(layers[0], nn.Linear):
            return _OnLatents(self.network)
        bias = None if layers[0].bias is None else layers[0].bias.detach().numpy()
        return LinearPolicy(layers[0].weight.detach().numpy(), bias, ("latent",))

    def act(self, observation: npt.ArrayLike | torch.Tensor) -> Any:
        """Return the action for a latent (Z,): an int if Discrete, else an array (A,)."""
        if self.policy_type == "constant":
            return self._action
        if self.policy_type == "neural":
            return self._neural(observation)
        uniforms = self._rng.random(self.space.shape, np.float32)
        return self.space.single(self.space.uniform(np.asarray(uniforms)))

    @torch.inference_mode()
    def _neural(self, observation: npt.ArrayLike | torch.Tensor) -> Any:
        latent = torch.as_tensor(observation, dtype=torch.float32)
        scores = self.network(latent.unsqueeze(0)).float().numpy()
        if scores.shape[1:] != (self.space.width,):
            raise ValueError(
                f"the network must output ({self.space.width},) scores, not {scores.shape[1:]}"
            )
        actions = self.space.from_scores(scores, np.isfinite(scores).all(axis=1))
        return self.space.single(actions[0])

    def _checked(self, action: Any) -> Any:
        space = self.space
        if np.ndim(action) == 0:
            action = np.broadcast_to(action, space.shape)  # the same for all components
        try:
            return space.single(space.check(np.asarray(action)))
        except ValueError as error:
            raise ValueError(f"action: {error}") from error


class _OnLatents:
    """A network that sees latents, as a policy."""

    inputs = ("latent",)

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    @torch.inference_mode()
    def scores(self, features: Float32) -> Float32:
        scores: Float32 = self._network(torch.from_numpy(features)).float().numpy()
        return scores


def _space(
    action_dim: int | None, discrete: bool, low: npt.ArrayLike, high: npt.ArrayLike
) -> ActionSpace:
    if action_dim is None or action_dim < 1:
        raise ValueError(f"give a space, or an action_dim of at least 1, not {action_dim}")
    names = tuple(f"action {i}" for i in range(action_dim))
    if discrete:
        return DiscreteSpace(n=action_dim, names=names)
    least, most = (np.broadcast_to(bound, (action_dim,)).tolist() for bound in (low, high))
    return BoxSpace(low=tuple(least), high=tuple(most), names=names)


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
