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
from dreamserve_training.data.workers import worker_env
from dreamserve_training.envs import EnvSpec
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.options import Count, Options, Whole
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.records import Record, begin, describe, finish
from dreamserve_training.runs.signals import stoppable


@dataclass(frozen=True)
class CollectConfig(Options):
    """The number of episodes, the first one's seed (then seed + 1, …) and of worker processes."""

    episodes: Count = 4000
    seed: Whole = 0
    workers: Count = 2

    @property
    def seeds(self) -> range:
        """The episodes' seeds."""
        return range(self.seed, self.seed + self.episodes)


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
    restart: bool = False,
) -> None:
    """Record the missing episodes of `directory`; call `progress(done, total)` after each.

    `collect_run.json` says how they were made. Raises MismatchError for episodes of another
    environment or other seeds (with `restart` they are removed), LockedError if another process
    collects there.
    """
    directory = directory.resolve()  # workers have another working directory
    paths = {seed: _path(directory, seed) for seed in config.seeds}
    with stoppable(), locked(directory, "collect"):
        _begin(spec, directory, config, restart)
        missing = [seed for seed, path in paths.items() if not path.exists()]
        done = config.episodes - len(missing)
        progress(done, config.episodes)
        with worker_pool(config.workers) as pool:
            jobs = [pool.submit(_collect_one, spec, directory, seed) for seed in missing]
            for job in as_completed(jobs):
                job.result()  # raises the worker's exception
                done += 1
                progress(done, config.episodes)
        finish(directory / "collect_run.json", episodes=done)


def _begin(spec: EnvSpec, directory: Path, config: CollectConfig, restart: bool) -> None:
    made = sorted(directory.glob("*.npz"))
    wanted = {_path(directory, seed) for seed in config.seeds}
    other = [path.name for path in made if path not in wanted]
    last = config.seeds[-1]
    reached = f"{other[0]} is not of the seeds {config.seed} to {last}" if other else ""
    settings = {"environment": describe(spec), "seed": config.seed}
    record = Record("the collection", settings, {"episodes": config.episodes})
    path = directory / "collect_run.json"
    begin(path, record, made, reached=reached, restart=restart)


def _path(directory: Path, seed: int) -> Path:
    return directory / f"episode-{seed:06d}.npz"


def _collect_one(spec: EnvSpec, directory: Path, seed: int) -> None:
    save_episode(_path(directory, seed), record_episode(worker_env(spec), spec, seed))
