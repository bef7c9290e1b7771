"""What recorded data tells, in the terms of an environment, for recipes without one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from dreamserve.spaces import ActionSpace
from dreamserve_training.data.description import Description
from dreamserve_training.data.digests import Digest, files_digest
from dreamserve_training.data.disk import Data, place_episodes
from dreamserve_training.data.episodes import SPLITS, TAKEN_FILE, Split
from dreamserve_training.data.gym_spaces import renamed
from dreamserve_training.env_specs import Wishes, observation_spec
from dreamserve_training.envs import EnvSpec
from dreamserve_training.progress import log_progress
from dreamserve_training.runs.records import Record, begin, read_record


def recorded_spec(described: Description, longest: int, wishes: Wishes) -> EnvSpec:
    """Return the world of recorded data: its spaces, and its longest episode as the limit of steps.

    Raises UnsupportedEnvironmentError, or DataError, for `wishes` that do not fit it.
    """
    return EnvSpec(
        env=None,
        env_id=described.source,
        observation=observation_spec(_space(described), wishes, described.source),
        action_space=_actions(described, wishes),
        max_episode_steps=wishes.max_episode_steps or longest,
    )


def digests(data: Data, folder: Callable[[Split], Path]) -> dict[Split, Digest]:
    """Return the digests of the episodes that train and are held out.

    Of data that has gone, those of what was taken into the folders; {} if not all of it was.
    """
    if not data.exists():
        return _taken(folder)
    return {split: files_digest(paths) for split, paths in _splits(data).items()}


def take_recorded(
    data: Data,
    spec: EnvSpec,
    folder: Callable[[Split], Path],
    restart: bool = False,
) -> None:
    """Put the episodes of `data` into the folders of those that train and those held out.

    `data_run.json` says which they were. Data that has gone since it was taken is not needed again.
    Raises MismatchError for a folder of others (with `restart` they are removed from it), and
    DataError for an episode that does not fit `spec`.
    """
    if not data.exists() and not restart and _taken(folder):
        return
    for split, paths in _splits(data).items():
        directory = folder(split)
        settings = {"observation": spec.observation, "action_space": spec.action_space}
        record = Record("the data", settings, {}, data=files_digest(paths))
        taken = sorted(directory.glob("*.npz"))
        begin(directory / TAKEN_FILE, record, taken, restart=restart)
        progress = log_progress(f"take {split}")
        place_episodes(paths, directory, spec.observation, spec.action_space, progress)


def _splits(data: Data) -> dict[Split, list[Path]]:
    return dict(zip(SPLITS, data.split(), strict=True))


def _taken(folder: Callable[[Split], Path]) -> dict[Split, Digest]:
    found: dict[Split, Digest] = {}
    for split in SPLITS:
        record = read_record(folder(split) / TAKEN_FILE)
        if record is None or record["data"]["files"] != len([*folder(split).glob("*.npz")]):
            return {}
        found[split] = record["data"]
    return found


def _space(described: Description) -> gymnasium.Space[Any]:
    shape = described.observation_shape
    if described.observation_kind == "frames":
        return gymnasium.spaces.Box(0, 255, shape, np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)


def _actions(described: Description, wishes: Wishes) -> ActionSpace:
    names = wishes.action_names
    return described.action_space if names is None else renamed(described.action_space, names)
