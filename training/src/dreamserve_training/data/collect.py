"""Record episodes of the real environment in worker processes.

    dreamserve-train collect takecover --out runs/takecover

Each episode is a pure function of its seed and its players, and has its own file, so an
interrupted run continues with the missing files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from dreamserve.backends.choose import cores
from dreamserve.spaces import ActionSpace
from dreamserve_training.data.agents import Agent, BlindAgent
from dreamserve_training.data.checks import check_raw_episode
from dreamserve_training.data.episodes import (
    COLLECTED_FILE,
    DataError,
    Episode,
    save_episode,
)
from dreamserve_training.data.players import Player, player_of
from dreamserve_training.data.playing import Step, steps_of
from dreamserve_training.data.policies import Policy, check_durations, sticky_actions
from dreamserve_training.data.workers import worker_env
from dreamserve_training.envs import EnvSpec, RealEnv
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.options import PLACE, Count, Options, Whole
from dreamserve_training.runs.pools import worker_pool
from dreamserve_training.runs.records import Record, begin, check, describe, finish
from dreamserve_training.runs.signals import stoppable

Steps = Annotated[float, Field(ge=1, allow_inf_nan=False)]
# Names that an episode's observations have, raw or encoded.
RESERVED = {"frames", "vectors", "mu", "logvar", "z"}


@dataclass(frozen=True)
class CollectConfig(Options):
    """How episodes are collected; episode i has the seed `seed` + i."""

    episodes: Count = 4000
    seed: Whole = 0
    workers: Count = field(default_factory=cores, metadata=PLACE)
    max_steps: Count | None = None  # after which an episode is cut; None: as in the environment
    idle_steps: Count | None = None  # the same, without a positive reward; None: however many
    shortest: Steps = 1.0  # mean steps that a random action lasts, see `sticky_actions`
    longest: Steps = 16.0
    policy: Policy | None = None  # the actions of an episode; None: sticky random ones
    players: tuple[Player, ...] = ()  # who play instead

    def __post_init__(self) -> None:
        super().__post_init__()
        check_durations(self.shortest, self.longest)

    @property
    def seeds(self) -> range:
        """The episodes' seeds."""
        return range(self.seed, self.seed + self.episodes)

    def actions(self, rng: np.random.Generator, space: ActionSpace) -> Iterator[Any]:
        """Return the actions of one episode."""
        if self.policy is not None:
            return self.policy(rng, space)
        return sticky_actions(rng, space, self.shortest, self.longest)

    def agent(self, seed: int, space: ActionSpace) -> Agent:
        """Return who plays the episode `seed`."""
        if self.players:
            return player_of(seed, self.players).plays.agent(space)
        return BlindAgent(self.actions, space)


def record_episode(env: RealEnv, config: CollectConfig, seed: int) -> Episode:
    """Play one episode; return the arrays that `episodes` describes.

    What the spec's `record` returns is stored beside them, (T,) float32 each, for analysis: no
    model is trained on it. Raises DataError for an episode that cannot be trained on, what
    `RealEnv` raises, and InvalidActionError for an action that is not in the action space.
    """
    spec = env.spec
    is_frames = spec.observation.kind == "frame"
    agent = config.agent(seed, spec.action_space)
    steps: list[Step] = []
    idle = 0
    for step in steps_of(env, agent, seed, config.max_steps):
        steps.append(step)
        idle = 0 if step.reward > 0 else idle + 1
        if idle == config.idle_steps:
            break
    if not steps:
        raise DataError(f"{spec.env_id}: the policy gave no action")
    observations, actions, rewards, terminated, recorded = zip(*steps, strict=True)
    episode: Episode = {
        "frames" if is_frames else "vectors": np.stack(observations),
        "actions": np.asarray(actions, spec.action_space.dtype),
        "rewards": np.array(rewards, np.float64),
        "terminated": np.array(terminated, np.bool_),
    }
    where = f"{spec.env_id}, the episode with seed {seed}"
    check_raw_episode(episode, where)
    episode["rewards"] = episode["rewards"].astype(np.float32)
    return {**episode, **_columns(recorded, set(episode), where)}


def _columns(rows: Sequence[Mapping[str, float]], taken: set[str], where: str) -> Episode:
    """Return the recorded numbers by name, (T,) float32 each; DataError names `where`."""
    names = set(rows[0])
    if names & (taken | RESERVED):
        raise DataError(f"{where}: `record` gives {sorted(names)}; choose other names")
    columns: Episode = {}
    for name in rows[0]:
        values = [row[name] for row in rows if set(row) == names and np.ndim(row[name]) == 0]
        column = np.array(values)
        if len(values) < len(rows) or column.dtype.kind not in "biuf":
            raise DataError(
                f"{where}: `record` must give the same names with one number each at every step;"
                f" {name!r} is not"
            )
        columns[name] = column.astype(np.float32)
    return columns


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
            jobs = [pool.submit(_collect_one, spec, directory, config, seed) for seed in missing]
            for job in as_completed(jobs):
                job.result()  # raises the worker's exception
                done += 1
                progress(done, config.episodes)
        finish(directory / COLLECTED_FILE, episodes=done)


def check_collection(spec: EnvSpec, directory: Path, config: CollectConfig) -> None:
    """Raise MismatchError if `collect` would, before it plays; nothing is written."""
    path, record, made, reached = _record(spec, directory, config)
    check(path, record, made, reached=reached)


def _begin(spec: EnvSpec, directory: Path, config: CollectConfig, restart: bool) -> None:
    path, record, made, reached = _record(spec, directory, config)
    begin(path, record, made, reached=reached, restart=restart)


def _record(
    spec: EnvSpec, directory: Path, config: CollectConfig
) -> tuple[Path, Record, list[Path], str]:
    """Return the record of a collection, its file, the episodes there, and why they are others."""
    made = sorted(directory.glob("*.npz"))
    wanted = {_path(directory, seed) for seed in config.seeds}
    other = [path.name for path in made if path not in wanted]
    last = config.seeds[-1]
    reached = f"{other[0]} is not of the seeds {config.seed} to {last}" if other else ""
    settings = {
        "environment": describe(spec),
        "seed": config.seed,
        "actions": describe((config.shortest, config.longest, config.policy)),
        **({"players": describe(config.players)} if config.players else {}),
        **({"max_steps": config.max_steps} if config.max_steps else {}),
        **({"idle_steps": config.idle_steps} if config.idle_steps else {}),
    }
    code = code_used(spec, config)
    record = Record("the collection", settings, {"episodes": config.episodes}, grows=code)
    return directory / COLLECTED_FILE, record, made, reached


def code_used(spec: EnvSpec, config: CollectConfig) -> dict[str, dict[str, str]]:
    """Return digests of the user's code that plays, by what it is; empty without any."""
    return code_digests(spec.env, spec.record, config.policy)


def code_digests(env: object, record: object, policy: object) -> dict[str, dict[str, str]]:
    """Return digests of these functions of a recipe's file; empty if none has its code there."""
    functions = {"env": env, "record": record, "policy": policy}
    digests = {name: getattr(each, "code", str)() for name, each in functions.items()}
    code = {name: digest for name, digest in digests.items() if digest}
    return {"code": code} if code else {}


def _path(directory: Path, seed: int) -> Path:
    return directory / f"episode-{seed:06d}.npz"


def _collect_one(spec: EnvSpec, directory: Path, config: CollectConfig, seed: int) -> None:
    save_episode(_path(directory, seed), record_episode(worker_env(spec), config, seed))
