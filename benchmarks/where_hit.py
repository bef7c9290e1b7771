"""Where in the room is the bundled Take Cover controller hit, and does its M see it coming?

    python benchmarks/where_hit.py                     # 100 real episodes; 4 minutes of two cores
    python benchmarks/where_hit.py --episodes 4 --max-steps 300

The player runs between two side walls. A hit is unseen if M, with every observation known, says
less than 0.02 in the step itself and in the three before.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import vizdoom

from dreamserve.bundle import load_bundle
from dreamserve_training.data.agents import Exploration
from dreamserve_training.data.collect import CollectConfig, record_episode
from dreamserve_training.data.players import Player
from dreamserve_training.data.workers import worker_env
from dreamserve_training.dreams.returns import worker_world
from dreamserve_training.envs import EnvSpec
from dreamserve_training.evaluation.dreaming import ControllerPlayer
from dreamserve_training.evaluation.teacher_forcing import encode_episode, teacher_force
from dreamserve_training.passes import resolve_passes
from dreamserve_training.probe import probe
from dreamserve_training.recipe_files import load_recipe
from dreamserve_training.recipes.takecover import RECIPE
from dreamserve_training.runs.pools import worker_pool
from foreseen import NEAR_STEPS, UNFORESEEN
from tables import print_circumstances, print_table

BUNDLE = Path(__file__).parents[1] / "bundles" / "takecover"
FIRST_SEED = 4_000_000  # those that `dreamserve-train evaluate` plays; recipes learn from others
BANDS = 8  # of the room, with as many steps each
Facts = npt.NDArray[np.float64]  # (T, 4): the place, whether a hit, whether unseen, the probability


def place(env: Any, observation: Any) -> dict[str, float]:
    """Return what the recipe records, and where between the side walls the player is."""
    position = env.unwrapped.game.get_game_variable(vizdoom.GameVariable.POSITION_Y)
    assert RECIPE.record is not None
    return {**RECIPE.record(env, observation), "place": position}


def watch(env: EnvSpec, bundle: Path, seed: int) -> Facts:
    """Play one real episode by the bundle's controller; return the facts of its steps."""
    player = ControllerPlayer(bundle, bundle / "controller.npz", str(bundle), Exploration(share=0))
    config = CollectConfig(episodes=1, players=(Player("controller", 1.0, player),))
    episode = record_episode(worker_env(env), config, seed)
    world = worker_world(bundle)
    latents = encode_episode(world, episode, RECIPE.signals, env.env_id)
    (run,) = teacher_force(world.backend, world.spec, [latents])
    said = run.signals[[signal.name for signal in world.spec.signals].index("hit")]
    hit = latents.signals["hit"] > 0
    lately = [said[max(0, step - NEAR_STEPS) : step + 1].max() for step in range(len(said))]
    return np.stack([episode["place"], hit, hit & (np.array(lately) < UNFORESEEN), said], axis=1)


def rows(facts: Facts) -> list[list[str]]:
    """Return the table's rows: a band of places in each."""
    places = facts[:, 0]
    bounds = np.quantile(places, np.linspace(0, 1, BANDS + 1))
    inner = np.digitize(places, bounds[1:-1])
    return [
        [
            f"{bounds[band]:.0f} to {bounds[band + 1]:.0f}",
            *(f"{1000 * mean:.2f}" for mean in facts[inner == band, 1:].mean(axis=0)),
        ]
        for band in range(BANDS)
    ]


def main() -> None:
    """Play the episodes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--max-steps", type=int, default=RECIPE.max_episode_steps)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    load_bundle(options.bundle)  # or says why not, before anything is played
    written = load_recipe("takecover")
    env = resolve_passes(written, probe(written))[0].env
    env = replace(env, record=place, max_episode_steps=options.max_steps)
    seeds = range(FIRST_SEED, FIRST_SEED + options.episodes)
    with worker_pool(options.workers) as pool:
        facts = list(pool.map(partial(watch, env, options.bundle.resolve()), seeds))
    steps = np.concatenate(facts)
    print(f"{len(facts)} real episodes, {len(steps) / len(facts):,.0f} steps each on average\n")
    print_table(["place", "hits in 1,000 steps", "of them unseen", "expected"], rows(steps))
    print_circumstances(["torch", "onnxruntime", "vizdoom"], cores=f"{options.workers} used")


if __name__ == "__main__":
    main()
