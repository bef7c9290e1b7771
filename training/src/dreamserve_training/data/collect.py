"""Record episodes of the real environment in worker processes.

    dreamserve-train collect takecover --out runs/takecover

Each episode is a pure function of its seed and has its own file, so an interrupted run continues
with the missing files.
"""

from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from dreamserve_training.data.episodes import Episode, save_episode
from dreamserve_training.data.policies import sticky_actions
from dreamserve_training.data.workers import game_workers, worker_env
from dreamserve_training.envs import EnvSpec


@dataclass(frozen=True)
class CollectConfig:
    """The number of episodes, the first one's seed (then seed + 1, …) and of worker processes."""

    episodes: int = 4000
    seed: int = 0
    workers: int = 2


def record_episode(env: gymnasium.Env[Any, Any], spec: EnvSpec, seed: int) -> Episode:
    """Play one episode with sticky random actions; return the arrays that `episodes` describes.

    `health` (T,) float32 (NaN in an environment without health) is recorded for analysis: it
    distinguishes hits from the death that ends the episode. No model is trained on it.
    """
    rng = np.random.default_rng(seed)
    policy = sticky_actions(rng, len(spec.action_names))
    frames, actions, rewards, ends, health = [], [], [], [], []
    observation, _ = env.reset(seed=seed)
    for action, _ in zip(policy, range(spec.max_episode_steps), strict=False):
        frames.append(spec.frame_of(observation))
        observation, reward, terminated, truncated, _ = env.step(action)
        actions.append(action)
        rewards.append(reward)
        ends.append(terminated)
        health.append(spec.health_of(observation))
        if terminated or truncated:
            break
    return {
        "frames": np.stack(frames),
        "actions": np.array(actions, np.int64),
        "rewards": np.array(rewards, np.float32),
        "terminated": np.array(ends, np.bool_),
        "health": np.array(health, np.float32),
    }


def collect(
    spec: EnvSpec,
    directory: Path,
    config: CollectConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Record the missing episodes of `directory`; call `progress(done, total)` after each."""
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    seeds = range(config.seed, config.seed + config.episodes)
    missing = [seed for seed in seeds if not _path(directory, seed).exists()]
    done = config.episodes - len(missing)
    progress(done, config.episodes)
    with game_workers(config.workers) as pool:
        jobs = [pool.submit(_collect_one, spec, directory, seed) for seed in missing]
        try:
            for job in as_completed(jobs):
                job.result()  # raises the worker's exception
                done += 1
                progress(done, config.episodes)
        finally:
            pool.shutdown(cancel_futures=True)


def _path(directory: Path, seed: int) -> Path:
    return directory / f"episode-{seed:06d}.npz"


def _collect_one(spec: EnvSpec, directory: Path, seed: int) -> None:
    save_episode(_path(directory, seed), record_episode(worker_env(spec), spec, seed))
