"""Data on disk in place of an environment: which episodes train, which are held out."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from dreamserve.observations import FrameSpec, ObservationSpec
from dreamserve.spaces import BoxSpace, Space
from dreamserve_training.data.actions import as_actions, check_actions
from dreamserve_training.data.checks import load_raw_episode, observation_field
from dreamserve_training.data.description import Description, read_description
from dreamserve_training.data.episodes import DataError, Episode, episode_paths, save_episode
from dreamserve_training.data.frames import resized
from dreamserve_training.runs.options import Options, Whole


@dataclass(frozen=True)
class Data(Options):
    """A folder of raw episodes, as `dreamserve-train import` writes it.

    A share `holdout` of the episodes, at least one, is never trained on; the split depends on
    `seed` and the files' names only.
    """

    folder: str | Path
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: Whole = 0

    def exists(self) -> bool:
        """Return whether the folder is there."""
        return Path(self.folder).is_dir()

    def paths(self) -> list[Path]:
        """Return the files of the episodes, sorted by name; DataError without the folder or any."""
        if not self.exists():
            raise DataError(f"{self.folder}: no such folder, from {Path.cwd()}")
        return episode_paths(self.folder)

    def description(self) -> Description:
        """Return what the folder holds; DataError if it has no description."""
        described = read_description(self.folder)
        if described is None:
            raise DataError(
                f"{self.folder}: holds no dataset.json, which says what the actions were; write it"
                " by: dreamserve-train import FOLDER OUT"
            )
        return described

    def split(self) -> tuple[list[Path], list[Path]]:
        """Return the files that train and those that are held out, each sorted by name.

        Raises DataError for a folder of fewer than two episodes.
        """
        paths = self.paths()
        if len(paths) < 2:
            raise DataError(f"{self.folder}: holds one episode; one more is needed, to hold out")
        count = min(max(1, round(self.holdout * len(paths))), len(paths) - 1)
        held_out = set(np.random.default_rng(self.seed).permutation(len(paths))[:count].tolist())
        return (
            [path for index, path in enumerate(paths) if index not in held_out],
            [path for index, path in enumerate(paths) if index in held_out],
        )


def place_episodes(
    paths: list[Path],
    directory: Path,
    observation: ObservationSpec,
    action_space: Space,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Put the episodes `paths` into `directory` as a world sees them; files that exist are kept.

    Frames are cropped and resized as `observation` says, and a Box's actions become floats; an
    episode that stays as it is becomes a hard link, or a copy on another file system. Raises
    DataError, which names the file, for an episode that cannot be trained on, or whose observations
    or actions are others.
    """
    directory.mkdir(parents=True, exist_ok=True)
    progress(0, len(paths))
    for done, path in enumerate(paths, 1):
        target = directory / path.name
        if not target.exists():
            stored, _ = load_raw_episode(path)
            check_actions(stored["actions"], action_space, path)
            episode = as_seen(stored, observation, path)
            if isinstance(action_space, BoxSpace) and stored["actions"].dtype.kind != "f":
                episode = {**episode, "actions": as_actions(stored["actions"], action_space)}
            if episode is stored:
                _link(path, target)
            else:
                save_episode(target, episode)
        progress(done, len(paths))


def as_seen(episode: Episode, observation: ObservationSpec, where: object) -> Episode:
    """Return `episode` with the observations that a world sees; itself if these are the same."""
    is_frames = isinstance(observation, FrameSpec)
    name = "frames" if is_frames else "vectors"
    source = observation.source_shape if isinstance(observation, FrameSpec) else observation.shape
    found = observation_field(episode, where)
    if found != name or episode[name].shape[1:] != source:
        raise DataError(f"{where}: {found} are {episode[found].shape[1:]}, not {name} {source}")
    if not isinstance(observation, FrameSpec):
        return episode
    crop = observation.crop
    sides = crop.top, crop.bottom, crop.left, crop.right
    frames = resized(episode[name], sides, observation.shape[:2])
    return episode if frames is episode[name] else {**episode, name: frames}


def _link(path: Path, target: Path) -> None:
    """Hard-link `path` to `target`, or copy it atomically."""
    try:
        os.link(path, target)
    except OSError:
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        shutil.copyfile(path, partial)
        partial.replace(target)
