"""How dangerous are a world's dreams, by how long ago reality was? At several temperatures.

    python benchmarks/dream_danger.py                    # bundles/takecover; about two minutes
    python benchmarks/dream_danger.py --temperatures 1 --dreams 64 --steps 20

Dreams begin at the bundle's real moments, and its own controller plays them by its highest scores.
Each figure is what the world expects of its first signal (or of the end, if it has none), per
1,000 steps, in those steps of the dreams; a dream that ends is not replaced.
"""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve_training.models.controller import LayeredPolicy, load_policy
from dreamserve_training.train.ppo.config import END, Features, PPOConfig
from dreamserve_training.train.ppo.distributions import distribution_of
from dreamserve_training.train.ppo.dreams import Dreams
from tables import print_circumstances, print_table

BUNDLE = Path(__file__).parents[1] / "bundles" / "takecover"
BOUNDS = (0, 5, 10, 20, 40, 60, 90, 120, 200)  # steps since the real moment
SURE = 1e3  # scores so large that the highest one is always chosen


def dangers(
    world: World, policy: LayeredPolicy, temperature: float, dreams: int, steps: int
) -> np.ndarray:
    """Return the mean probability of the event in each step (steps,) of the dreams that go on."""
    signals = world.spec.signals
    event = signals[0].name if signals else END
    config = PPOConfig(
        reward={event: 1.0},
        dreams=dreams,
        steps=steps,
        dream_steps=10**9,  # never cut
        beginnings=0.0,
        temperatures=(temperature, temperature),
        inputs=policy.inputs,
    )
    advancing = Dreams(world, Features.of(world.spec, config), config)
    rng = np.random.default_rng(0)
    advancing.begin(rng)
    seen = advancing.run(
        lambda features: SURE * torch.from_numpy(policy.scores(features.numpy())),
        distribution_of(world.spec.action_space, config.action_std),
        rng,
    )
    going_on = torch.cumsum(seen.cut, 0) - seen.cut.long() == 0
    return (torch.where(going_on, seen.rewards, 0).sum(1) / going_on.sum(1)).numpy()


def row(temperature: float, danger: np.ndarray, bounds: Sequence[int]) -> list[str]:
    """Return the table's row: events per 1,000 steps between the bounds."""
    means = [1000 * danger[first:end].mean() for first, end in pairwise(bounds)]
    return [f"T = {temperature:g}", *(f"{mean:.2f}" for mean in means)]


def main() -> None:
    """Measure the dangers at each temperature; print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--temperatures", default="0.1,0.5,1,1.15,1.3,2")
    parser.add_argument("--dreams", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=BOUNDS[-1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = load_world(options.bundle, threads=1)
    policy = load_policy(options.bundle / "controller.npz")
    bounds = [bound for bound in BOUNDS if bound < options.steps] + [options.steps]
    rows = []
    for temperature in map(float, options.temperatures.split(",")):
        danger = dangers(world, policy, temperature, options.dreams, options.steps)
        rows.append(row(temperature, danger, bounds))
    print(f"{world.title}: {options.dreams} dreams; events expected per 1,000 steps\n")
    print_table(["", *(f"{first} to {end - 1}" for first, end in pairwise(bounds))], rows)
    print_circumstances(["torch", "onnxruntime"], cores="one thread")


if __name__ == "__main__":
    main()
