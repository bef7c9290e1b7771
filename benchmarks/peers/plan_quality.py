"""What plans do mbrl-lib and torchrl find in a world? Prints JSON.

    benchmarks/.peers/bin/python benchmarks/peers/plan_quality.py BUNDLE --starts 10 --seeds 3 \\
        --horizon 15 --candidates 512 --iterations 6 --icem-evaluations 2830

Each library's own planners, unmodified, on the bundle's TorchScript step, from the first entries of
its bank, deterministic and undiscounted. The world has Box actions and no recurrent state. Planners
with settings that matter are run with several of them. For each variant:

    library, planner, variant; evaluations: sequences simulated for one plan
    actions: (starts, seeds, H, A), the sequences returned
"""

import argparse
import json
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import omegaconf
import torch
from mbrl.planning import TrajectoryOptimizer
from memoryless import Plan, Variant, World
from torch import Tensor
from torchrl_planners import torchrl_variants

ELITE_SHARE = 0.1
ICEM = {  # name: (share of elites, decay, exponent of the noise)
    "its example's": (0.1, 1.3, 2.0),
    "as dreamserve's": (0.03, 1.1, 0.5),
}
KEEP_SHARE, ALPHA = 0.3, 0.1
GAMMAS = (0.1, 1.0)  # factors of a value in the exponent


def mbrl_lib(world: World, horizon: int, target: str, **settings: Any) -> Callable[[], Plan]:
    """Return a factory of one of mbrl-lib's optimizers within its TrajectoryOptimizer."""
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
    """Yield mbrl-lib's planners. CEM and iCEM return their mean, as in its examples."""
    sizes = {"num_iterations": iterations, "population_size": candidates}
    shared = {"num_iterations": iterations, "alpha": ALPHA, "return_mean_elites": True}
    for name, clipped in (("truncated", False), ("clipped", True)):
        settings = {**shared, **sizes, "elite_ratio": ELITE_SHARE, "clipped_normal": clipped}
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
            **shared,
        )
        yield Variant("mbrl", "icem", name, make)
    for gamma in GAMMAS:
        make = mbrl_lib(world, horizon, "MPPIOptimizer", gamma=gamma, sigma=1.0, beta=0.9, **sizes)
        yield Variant("mbrl", "mppi", f"gamma {gamma:g}", make)


def icem_population(evaluations: int, iterations: int, elite_share: float, decay: float) -> int:
    """Return the smallest population with which iCEM evaluates at least `evaluations`."""
    population = 2
    while icem_evaluations(population, iterations, elite_share, decay) < evaluations:
        population += 1
    return population


def icem_evaluations(population: int, iterations: int, elite_share: float, decay: float) -> int:
    """Return how many sequences mbrl-lib's iCEM evaluates in its first plan.

    Kept elites are added to each population except the first and the last; the last adds the mean.
    """
    elites = ceil(population * elite_share)
    drawn = sum(ceil(max(population * decay**-i, 2 * elites)) for i in range(iterations))
    return drawn + ceil(KEEP_SHARE * elites) * max(0, iterations - 2) + (iterations > 1)


def run_variant(variant: Variant, world: World, starts: int, seeds: int) -> dict[str, Any]:
    """Plan with a variant from all starts and seeds; return its entry of the output."""
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
    """Plan with all variants and print the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    for name in ("starts", "seeds", "horizon", "candidates", "iterations", "icem-evaluations"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    world, sizes = World(args.bundle), (args.horizon, args.candidates, args.iterations)
    variants = [
        *mbrl_variants(world, *sizes, args.icem_evaluations),
        *torchrl_variants(world, *sizes),
    ]
    with torch.inference_mode():
        results = [run_variant(one, world, args.starts, args.seeds) for one in variants]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
