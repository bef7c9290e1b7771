"""torchrl's planners in a world without recurrent state.

They return only the first action. The whole mean plan is computed here in the same way, from the
last candidates, and its first action is compared with theirs.
"""

from collections.abc import Iterator

import torch
from memoryless import Plan, Variant, World
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import ModelBasedEnvBase
from torchrl.modules.planners import CEMPlanner, MPPIPlanner

ELITE_SHARE, MPPI_SHARE = 0.1, 1 / 8  # the latter as in TD-MPC: 64 of 512
TEMPERATURES = (0.1, 1.0)  # factors of a value in the exponent


class DreamEnv(ModelBasedEnvBase):
    """The world as an environment of torchrl; keeps the last candidates and their returns."""

    def __init__(self, world: World, horizon: int) -> None:
        advance = TensorDictModule(self._advance, ["latent", "action"], ["latent", "reward"])
        super().__init__(advance, batch_size=torch.Size([]))
        self.world, self.horizon = world, horizon
        self.actions: list[Tensor] = []  # (B, A) each
        self.total = torch.zeros(1)
        self.observation_spec = Composite(latent=Unbounded((world.starts.shape[1],)))
        self.state_spec = self.observation_spec.clone()
        self.action_spec = Bounded(torch.tensor(world.low), torch.tensor(world.high))
        self.reward_spec = Unbounded((1,))

    def _advance(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.actions) in (0, self.horizon):
            self.actions, self.total = [], torch.zeros(len(action))
            self.world.evaluations += len(action)
        latent, reward = self.world.step(latent, action)
        self.actions.append(action)
        self.total = self.total + reward
        return latent, reward[:, None]

    def _reset(self, tensordict: TensorDictBase | None = None, **_: object) -> TensorDictBase:
        return TensorDict({"latent": self.world.starts[0]})

    def mean(self, top_k: int, temperature: float) -> Tensor:
        """Return the mean (H, A) of the best last candidates, weighted by exp(temperature · value).

        Temperature 0 gives equal weights.
        """
        values, best = self.total.topk(top_k)
        weights = torch.softmax(temperature * values, 0)
        return torch.einsum("k,kha->ha", weights, torch.stack(self.actions, 1)[best])


class Advantage(nn.Module):
    """The advantage that MPPIPlanner requires: a candidate's return minus the best return.

    The baseline does not change the weights and keeps their exponentials from overflowing.
    """

    def forward(self, rollout: TensorDictBase) -> TensorDictBase:
        """Set "advantage" (B, H, 1)."""
        reward = rollout["next", "reward"]
        total = reward.sum(dim=-2, keepdim=True)
        return rollout.set("advantage", (total - total.max()).expand_as(reward))


def torchrl_variants(
    world: World, horizon: int, candidates: int, iterations: int
) -> Iterator[Variant]:
    """Yield torchrl's planners, which return their mean."""
    environment = DreamEnv(world, horizon)
    elites, top_k = (max(2, round(share * candidates)) for share in (ELITE_SHARE, MPPI_SHARE))
    sizes = (horizon, iterations, candidates)
    cem = CEMPlanner(environment, *sizes, elites)
    yield Variant("torchrl", "cem", "mean", lambda: torch_rl(environment, cem, elites, 0.0))
    for temperature in TEMPERATURES:
        mppi = MPPIPlanner(environment, Advantage(), temperature, *sizes, top_k)

        def make(planner: nn.Module = mppi, temperature: float = temperature) -> Plan:
            return torch_rl(environment, planner, top_k, temperature)

        yield Variant("torchrl", "mppi", f"temperature {temperature:g}", make)


def torch_rl(environment: DreamEnv, planner: nn.Module, top_k: int, temperature: float) -> Plan:
    """Return a function that plans with a planner of torchrl."""

    def plan(start: Tensor) -> Tensor:
        first = planner(environment.reset().set("latent", start))["action"]
        mean = environment.mean(top_k, temperature)
        torch.testing.assert_close(mean[0], first, atol=1e-4, rtol=1e-4)
        return mean

    return plan
