"""How long do the planners of mbrl-lib and torchrl take in the same world? Prints JSON.

    benchmarks/.peers/bin/python benchmarks/peers/planners.py BUNDLE --horizon 20 \\
        --candidates 256 --iterations 4 --repeats 5

Each library's own CEM planner, unmodified, on the bundle's TorchScript step, batched over the
candidates, on one thread, without gradients. Both plan in a box; for Discrete actions the box holds
a score for each action and the highest is taken. `values` holds, for each repeat, the best
discounted return of any candidate.
"""

import argparse
import importlib.metadata
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import omegaconf
import torch
from mbrl.planning import TrajectoryOptimizer
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import ModelBasedEnvBase
from torchrl.modules.planners import CEMPlanner

DISCOUNT = 0.99
ELITE_SHARE = 0.1
State = tuple[Tensor, Tensor, Tensor]  # latent (B, Z), h (B, R), c (B, R)
Plan = Callable[[], float]  # plans once, returns the best value found


class World:
    """A bundle's step in torch, and the start of plans."""

    def __init__(self, bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        space = manifest["action_space"]
        self.discrete: bool = space["type"] == "Discrete"
        width = space.get("n", 0)
        self.low: list[float] = [-1.0] * width if self.discrete else space["low"]
        self.high: list[float] = [1.0] * width if self.discrete else space["high"]
        self.normal: int = manifest["noise"]["normal"]
        self.uniform: int = manifest["noise"]["uniform"]
        self.graph = torch.jit.load(str(bundle / "step.pt")).float().eval()
        with np.load(bundle / "bank.npz") as bank:
            names = ("mu", "state.h", "state.c")
            self.start: State = tuple(torch.from_numpy(bank[name][:1]).float() for name in names)

    def step(self, state: State, action: Tensor) -> tuple[State, Tensor]:
        """Advance B dreams by actions (B, A); return their states and rewards (B,)."""
        count = len(action)
        noise = torch.cat([torch.randn(count, self.normal), torch.rand(count, self.uniform)], 1)
        taken = action.argmax(dim=1) if self.discrete else action
        latent, h, c = state
        latent, reward, _, h, c, *_ = self.graph(latent, taken, h, c, torch.ones(count), noise)
        return (latent, h, c), reward


def mbrl_lib(world: World, horizon: int, candidates: int, iterations: int) -> Plan:
    """Return mbrl-lib's CEMOptimizer within its TrajectoryOptimizer."""
    settings = omegaconf.OmegaConf.create(
        {
            "_target_": "mbrl.planning.CEMOptimizer",
            "num_iterations": iterations,
            "elite_ratio": ELITE_SHARE,
            "population_size": candidates,
            "alpha": 0.1,
            "device": "cpu",
            "lower_bound": "???",
            "upper_bound": "???",
            "clipped_normal": True,  # of its two sampling methods, the one that respects the bounds
        }
    )
    optimizer = TrajectoryOptimizer(
        settings, np.array(world.low), np.array(world.high), horizon, keep_last_solution=False
    )

    def returns(actions: Tensor) -> Tensor:
        """Return the value of each of B sequences, (B, H, A)."""
        state: State = tuple(part.expand(len(actions), -1) for part in world.start)
        total = torch.zeros(len(actions))
        for depth in range(horizon):
            state, reward = world.step(state, actions[:, depth])
            total += DISCOUNT**depth * reward
        return total

    def plan() -> float:
        best: list[float] = []
        optimizer.optimize(returns, lambda _population, values, _: best.append(values.max().item()))
        return max(best)

    return plan


class DreamEnv(ModelBasedEnvBase):
    """The world as an environment of torchrl.

    The planner neither discounts rewards nor returns values, so the environment does both. It
    always rolls out the whole horizon, so counting steps is enough to know the depth.
    """

    def __init__(self, world: World, horizon: int) -> None:
        states = ["latent", "h", "c"]
        advance = TensorDictModule(self._advance, [*states, "action"], [*states, "reward"])
        super().__init__(advance, batch_size=torch.Size([]))
        self.world, self.horizon = world, horizon
        self.depth = 0
        self.total = torch.zeros(1)
        self.best: list[float] = []  # the best sum of each rollout
        widths = [part.shape[1] for part in world.start]
        self.observation_spec = Composite(
            {name: Unbounded((width,)) for name, width in zip(states, widths, strict=True)}
        )
        self.state_spec = self.observation_spec.clone()
        self.action_spec = Bounded(torch.tensor(world.low), torch.tensor(world.high))
        self.reward_spec = Unbounded((1,))

    def _advance(self, latent: Tensor, h: Tensor, c: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        state, reward = self.world.step((latent, h, c), action)
        discounted = DISCOUNT**self.depth * reward
        self.total = discounted if self.depth == 0 else self.total + discounted
        self.depth += 1
        if self.depth == self.horizon:
            self.depth = 0
            self.best.append(self.total.max().item())
        return (*state, discounted[:, None])

    def _reset(self, tensordict: TensorDictBase | None = None, **_: object) -> TensorDictBase:
        latent, h, c = (part[0] for part in self.world.start)
        return TensorDict({"latent": latent, "h": h, "c": c})


def torch_rl(world: World, horizon: int, candidates: int, iterations: int) -> Plan:
    """Return torchrl's CEMPlanner."""
    environment = DreamEnv(world, horizon)
    elites = max(2, round(ELITE_SHARE * candidates))
    planner = CEMPlanner(environment, horizon, iterations, candidates, elites)
    start = environment.reset()

    def plan() -> float:
        environment.best.clear()
        planner(start.clone())
        return max(environment.best)

    return plan


def measured(plan: Plan, repeats: int) -> dict[str, list[float]]:
    """Return the time and the value of each repeat, after two unmeasured ones."""
    times_ms, values = [], []
    for repeat in range(-2, repeats):
        began_s = time.perf_counter()
        value = plan()
        if repeat >= 0:
            times_ms.append(1000 * (time.perf_counter() - began_s))
            values.append(value)
    return {"times_ms": times_ms, "values": values}


def main() -> None:
    """Measure both and print the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    for name, default in (("horizon", 20), ("candidates", 256), ("iterations", 4), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    world = World(args.bundle)
    planners = {"mbrl": mbrl_lib, "torchrl": torch_rl}
    results = {}
    with torch.inference_mode():
        for name, make in planners.items():
            plan = make(world, args.horizon, args.candidates, args.iterations)
            version = importlib.metadata.version(name)
            results[name] = {"version": version, **measured(plan, args.repeats)}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
