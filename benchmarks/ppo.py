"""How much does learning by PPO add to the cost of the dreams that it learns in?

    python benchmarks/ppo.py                     # bundles/takecover; about a minute
    python benchmarks/ppo.py --dreams 256 --steps 16 --rounds 1

One thread; seconds are CPU time, so other work on the machine matters less.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dreamserve.engine.world import World
from dreamserve.loading import load_world
from dreamserve.local import LocalClient
from dreamserve_protocol.policies import RandomPolicy
from dreamserve_training.train.ppo.config import PPOConfig
from dreamserve_training.train.ppo.learning import dreaming

BUNDLE = Path(__file__).parents[1] / "bundles" / "takecover"


def steps_per_s(run: Callable[[], int], rounds: int) -> float:
    """Return the most steps per second of CPU time of several rounds, after a first one."""
    run()
    best = 0.0
    for _ in range(rounds):
        began_s = time.process_time()
        steps = run()
        best = max(best, steps / (time.process_time() - began_s))
    return best


def rollouts(world: World, config: PPOConfig) -> int:
    """Imagine by the engine, as POST /rollout does: all dreams in one slice; return the steps."""
    client = LocalClient(world, capacity=1, slice_rows=config.dreams)
    seeds = np.arange(config.dreams)
    result = client.rollout(policy=RandomPolicy(), seeds=seeds, max_steps=config.steps)
    return int(result.lengths.sum())


def main() -> None:
    """Measure the engine's rollouts, the learner's dreams and whole iterations; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--dreams", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = load_world(options.bundle, threads=1)
    config = PPOConfig(dreams=options.dreams, steps=options.steps, reward={"end": -1.0})
    learner, size = dreaming(world, config), options.dreams * options.steps
    rng = np.random.default_rng(0)
    learner.source.begin(rng)

    def dreams() -> int:
        learner.source.run(learner.model.scores, learner.model.distribution, rng)
        return size

    def iteration() -> int:
        learner.iterate()
        return size

    measured = {
        "`/rollout` of random actions, in process": lambda: rollouts(world, config),
        "the learner's dreams": dreams,
        "a whole iteration, with 2 passes of learning": iteration,
    }
    print(f"{world.title}: {options.dreams} dreams x {options.steps} steps, one thread\n")
    print("| | steps/s | ratio |\n|---|---|---|")
    first = None
    for name, run in measured.items():
        speed = steps_per_s(run, options.rounds)
        first = first or speed
        print(f"| {name} | {speed:,.0f} | {speed / first:.2f} |")


if __name__ == "__main__":
    main()
