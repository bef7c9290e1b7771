"""What do the planners of mbrl-lib and torchrl find in a world? JSON on stdout.

    benchmarks/.peers/bin/python benchmarks/peers/plan_quality.py BUNDLE --starts 10 --seeds 3 \\
        --horizon 15 --candidates 512 --iterations 6 --icem-evaluations 2830

Each library's own planners, unmodified, over the bundle's TorchScript step, from the first entries
of its bank, without chance and undiscounted. The world has a Box of actions, one latent and no
memory. Planners with a choice that matters are tried with each, in `variants`. For each variant:

    library, planner, variant; evaluations: sequences dreamt to their end for one plan
    actions: (starts, seeds, H, A), the sequences returned

torchrl returns the first action alone; the rest of the mean that it belongs to is computed here as
it does, from the last candidates that it dreamt, and compared with what it returned.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import omegaconf
import torch
from mbrl.planning import TrajectoryOptimizer
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import ModelBasedEnvBase
from torchrl.modules.planners import CEMPlanner, MPPIPlanner

ELITE_SHARE, MPPI_SHARE = 0.1, 1 / 8  # the latter as in TD-MPC: 64 of 512
ICEM = {  # name: elites, decay, exponent of the noise
    "its example's": (0.1, 1.3, 2.0),
    "as dreamserve's": (0.05, 1.25, 1.0),
}
KEEP_SHARE, ALPHA = 0.3, 0.1
GAMMAS = TEMPERATURES = (0.1, 1.0)  # what a value is multiplied by before its exponential
Plan = Callable[[Tensor], Tensor]  # from a latent (Z,) to actions (H, A)


class Variant(NamedTuple):
    """A planner with its choices made; `make` gives one that remembers no earlier plan."""

    library: str
    planner: str
    name: str
    make: Callable[[], Plan]


class World:
    """A bundle's step as torch takes it, and where planning starts; counts its dreams."""

    def __init__(self, bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        self.low, self.high = (manifest["action_space"][side] for side in ("low", "high"))
        self.normal: int = manifest["noise"]["normal"]
        self.graph = torch.jit.load(str(bundle / "step.pt")).float().eval()
        with np.load(bundle / "bank.npz") as bank:
            self.starts = torch.from_numpy(bank["mu"]).float()
        self.evaluations = 0

    def step(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Advance B dreams, (B, Z), by actions (B, A); return their latents and rewards (B,)."""
        count = len(action)
        latent, reward, *_ = self.graph(
            latent, action, torch.zeros(count), torch.zeros(count, self.normal)
        )
        return latent, reward

    def returns(self, start: Tensor, actions: Tensor) -> Tensor:
        """Return the value (B,) of each of B sequences, (B, H, A)."""
        self.evaluations += len(actions)
        latent, total = start.expand(len(actions), -1), torch.zeros(len(actions))
        for depth in range(actions.shape[1]):
            latent, reward = self.step(latent, actions[:, depth])
            total += reward
        return total


def mbrl_lib(world: World, horizon: int, target: str, **settings: Any) -> Callable[[], Plan]:
    """Return how to make one of mbrl-lib's optimizers within its TrajectoryOptimizer."""
    settings |= {"_target_": f"mbrl.planning.{target}", "device": "cpu"}
    settings |= {"lower_bound": "???", "upper_bound": "???"}

    def make() -> Plan:
        optimizer = TrajectoryOptimizer(
            omegaconf.OmegaConf.create(settings),
            np.array(world.low),
            np.array(world.high),
            horizon,
            keep_last_solution=False,
        )

        def plan(start: Tensor) -> Tensor:
            found = optimizer.optimize(lambda actions: world.returns(start, actions))
            return torch.as_tensor(found)

        return plan

    return make


def mbrl_variants(
    world: World, horizon: int, candidates: int, iterations: int, icem_evaluations: int
) -> Iterator[Variant]:
    """Return mbrl-lib's planners. CEM and iCEM answer a mean, as its examples have them do."""
    sizes = {"num_iterations": iterations, "population_size": candidates}
    answer = {"num_iterations": iterations, "alpha": ALPHA, "return_mean_elites": True}
    for name, clipped in (("truncated", False), ("clipped", True)):
        settings = {**answer, **sizes, "elite_ratio": ELITE_SHARE, "clipped_normal": clipped}
        yield Variant("mbrl", "cem", name, mbrl_lib(world, horizon, "CEMOptimizer", **settings))
    for name, (elites, decay, exponent) in ICEM.items():
        make = mbrl_lib(
            world,
            horizon,
            "ICEMOptimizer",
            population_size=icem_population(icem_evaluations, iterations, elites, decay),
            elite_ratio=elites,
            population_decay_factor=decay,
            colored_noise_exponent=exponent,
            keep_elite_frac=KEEP_SHARE,
            **answer,
        )
        yield Variant("mbrl", "icem", name, make)
    for gamma in GAMMAS:
        make = mbrl_lib(world, horizon, "MPPIOptimizer", gamma=gamma, sigma=1.0, beta=0.9, **sizes)
        yield Variant("mbrl", "mppi", f"gamma {gamma:g}", make)


def icem_population(evaluations: int, iterations: int, elite_share: float, decay: float) -> int:
    """Return the least first population with which iCEM evaluates `evaluations` or more."""
    population = 2
    while icem_evaluations(population, iterations, elite_share, decay) < evaluations:
        population += 1
    return population


def icem_evaluations(population: int, iterations: int, elite_share: float, decay: float) -> int:
    """Return how many sequences mbrl-lib's iCEM evaluates in its first plan.

    Kept elites come on top of each population but the first; the mean, instead, on the last one's.
    """
    elites = ceil(population * elite_share)
    drawn = sum(ceil(max(population * decay**-i, 2 * elites)) for i in range(iterations))
    return drawn + ceil(KEEP_SHARE * elites) * max(0, iterations - 2) + (iterations > 1)


class DreamEnv(ModelBasedEnvBase):
    """The world as an environment of torchrl; keeps the last candidates and what they earned."""

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
        """Return the mean (H, A) of the best of the last candidates, by exp(temperature · value).

        Temperature 0 weighs them alike.
        """
        values, best = self.total.topk(top_k)
        weights = torch.softmax(temperature * values, 0)
        return torch.einsum("k,kha->ha", weights, torch.stack(self.actions, 1)[best])


class Advantage(nn.Module):
    """What MPPIPlanner asks for: what each candidate earns beyond the best of them.

    The baseline changes no weight, and no exponential of it overflows.
    """

    def forward(self, rollout: TensorDictBase) -> TensorDictBase:
        """Set "advantage" (B, H, 1)."""
        reward = rollout["next", "reward"]
        total = reward.sum(dim=-2, keepdim=True)
        return rollout.set("advantage", (total - total.max()).expand_as(reward))


def torchrl_variants(
    world: World, horizon: int, candidates: int, iterations: int
) -> Iterator[Variant]:
    """Return torchrl's planners, which answer a mean."""
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
    """Return a plan by a planner of torchrl."""

    def plan(start: Tensor) -> Tensor:
        first = planner(environment.reset().set("latent", start))["action"]
        mean = environment.mean(top_k, temperature)
        torch.testing.assert_close(mean[0], first, atol=1e-4, rtol=1e-4)
        return mean

    return plan


def found_by(variant: Variant, world: World, starts: int, seeds: int) -> dict[str, Any]:
    """Return what is printed of a variant."""
    world.evaluations = 0
    actions = []
    for start in world.starts[:starts]:
        for seed in range(seeds):
            torch.manual_seed(seed)
            actions.append(variant.make()(start))
    return {
        "library": variant.library,
        "planner": variant.planner,
        "variant": variant.name,
        "evaluations": world.evaluations // len(actions),
        "actions": torch.stack(actions).reshape(starts, seeds, *actions[0].shape).tolist(),
    }


def main() -> None:
    """Plan with all variants and print what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    for name in ("starts", "seeds", "horizon", "candidates", "iterations", "icem-evaluations"):
        parser.add_argument(f"--{name}", type=int, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    world, sizes = World(asked.bundle), (asked.horizon, asked.candidates, asked.iterations)
    variants = [
        *mbrl_variants(world, *sizes, asked.icem_evaluations),
        *torchrl_variants(world, *sizes),
    ]
    with torch.inference_mode():
        found = [found_by(one, world, asked.starts, asked.seeds) for one in variants]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
