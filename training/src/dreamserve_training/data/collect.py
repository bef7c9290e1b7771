"""Record episodes of the real environment in worker processes.

    dreamserve-train collect takecover --out runs/takecover

Each episode is a pure function of its seed and has its own file, so an interrupted run continues
with the missing files.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamserve.spaces import ActionSpace
from dreamserve_training.data.episodes import DataError, Episode, save_episode
from dreamserve_training.data.policies import Policy, sticky_actions
from dreamserve_training.data.workers import game_workers, worker_env
from dreamserve_training.envs import EnvSpec, RealEnv


@dataclass(frozen=True)
class CollectConfig:
    """How episodes are collected; episode i has the seed `seed` + i."""

    episodes: int = 4000
    seed: int = 0
    workers: int = 2
    shortest: float = 1.0  # mean steps that a random action lasts, see `sticky_actions`
    longest: float = 16.0
    policy: Policy | None = None  # the actions of an episode; None: sticky random ones

    def actions(self, rng: np.random.Generator, space: ActionSpace) -> Iterator[Any]:
        """Return the actions of one episode."""
        if self.policy is not None:
            return self.policy(rng, space)
        return sticky_actions(rng, space, self.shortest, self.longest)


def record_episode(env: RealEnv, config: CollectConfig, seed: int) -> Episode:
    """Play one episode; return the arrays that `episodes` describes.

    What the spec's `record` returns is stored beside them, (T,) float32 each, for analysis: no
    model is trained on it. Raises DataError for an action that is not in the action space.
    """
    spec = env.spec
    is_frames = spec.observation.kind == "frame"
    seen: Any = env.reset(seed)
    observations, rows, recorded = [], [], []
    for action in config.actions(np.random.default_rng(seed), spec.action_space):
        checked = spec.action_space.check(action)
        observations.append(seen)
        seen, reward, terminated, truncated, numbers = env.step(checked)
        rows.append((checked, reward, terminated))
        recorded.append(numbers)
        if terminated or truncated or len(rows) == spec.max_episode_steps:
            break
    if not rows:
        raise DataError(f"{spec.env_id}: the policy gave no action")
    actions, rewards, terminated_ = zip(*rows, strict=True)
    return {
        "frames" if is_frames else "vectors": np.stack(observations),
        "actions": np.asarray(actions, spec.action_space.dtype),
        "rewards": np.array(rewards, np.float32),
        "terminated": np.array(terminated_, np.bool_),
        **{name: np.array([row[name] for row in recorded], np.float32) for name in recorded[0]},
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
        jobs = [pool.submit(_collect_one, spec, directory, config, seed) for seed in missing]
        try:
            for job in as_completed(jobs):
                job.result()  # raises the worker's exception
                done += 1
                progress(done, config.episodes)
        finally:
            pool.shutdown(cancel_futures=True)


def _path(directory: Path, seed: int) -> Path:
    return directory / f"episode-{seed:06d}.npz"


def _collect_one(spec: EnvSpec, directory: Path, config: CollectConfig, seed: int) -> None:
    save_episode(_path(directory, seed), record_episode(worker_env(spec), config, seed))
