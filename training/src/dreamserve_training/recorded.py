"""What recorded data tells, in the terms of an environment, for recipes without one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from dreamserve.spaces import ActionSpace
from dreamserve_training.data.description import Description
from dreamserve_training.data.digests import files_digest
from dreamserve_training.data.disk import Data, place_episodes
from dreamserve_training.data.episodes import Split, episode_paths, length_of
from dreamserve_training.data.gym_spaces import renamed
from dreamserve_training.env_specs import Wishes, observation_spec
from dreamserve_training.envs import EnvSpec
from dreamserve_training.progress import log_progress
from dreamserve_training.runs.records import Record, begin


def recorded_spec(data: Data, wishes: Wishes) -> EnvSpec:
    """Return the world of `data`: its spaces, and its longest episode as the limit of steps.

    Raises DataError for a folder without description, and UnsupportedEnvironmentError for
    `wishes` that do not fit it.
    """
    described = data.description()
    longest = max(length_of(path, "actions") for path in episode_paths(data.folder))
    return EnvSpec(
        env=None,
        env_id=described.source,
        observation=observation_spec(_space(described), wishes, described.source),
        action_space=_actions(described, wishes),
        max_episode_steps=wishes.max_episode_steps or longest,
    )


def take_recorded(
    data: Data,
    spec: EnvSpec,
    folder: Callable[[Split], Path],
    restart: bool = False,
) -> None:
    """Put the episodes of `data` into the folders of those that train and those held out.

    `data_run.json` says which they were. Raises MismatchError for a folder of others (with
    `restart` they are removed from it), and DataError for an episode that does not fit `spec`.
    """
    train, holdout = data.split()
    splits: dict[Split, list[Path]] = {"train": train, "holdout": holdout}
    for split, paths in splits.items():
        directory = folder(split)
        settings = {"observation": spec.observation, "action_space": spec.action_space}
        record = Record("the data", settings, {}, data=files_digest(paths))
        taken = sorted(directory.glob("*.npz"))
        begin(directory / "data_run.json", record, taken, restart=restart)
        progress = log_progress(f"take {split}")
        place_episodes(paths, directory, spec.observation, spec.action_space, progress)


def _space(described: Description) -> gymnasium.Space[Any]:
    shape = described.observation_shape
    if described.observation_kind == "frames":
        return gymnasium.spaces.Box(0, 255, shape, np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)


def _actions(described: Description, wishes: Wishes) -> ActionSpace:
    names = wishes.action_names
    return described.action_space if names is None else renamed(described.action_space, names)
