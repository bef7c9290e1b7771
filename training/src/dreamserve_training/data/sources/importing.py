"""Import a dataset of another project as a folder of episodes with its description."""

import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamserve.spaces import BoxSpace, Space
from dreamserve_training.data.actions import as_actions, check_actions
from dreamserve_training.data.checks import (
    check_raw_episode,
    darkness,
    observation_field,
    without_terminal_frame,
)
from dreamserve_training.data.description import Description, write_description
from dreamserve_training.data.episodes import DataError, Episode, save_episode
from dreamserve_training.data.gym_spaces import MAX_ACTIONS, infer_space, renamed
from dreamserve_training.data.sources.flat import Named, read_folder, read_hdf5
from dreamserve_training.data.sources.minari_source import MinariSource

logger = logging.getLogger("dreamserve_training")
MINARI = "minari:"
HDF5 = (".hdf5", ".h5")


def open_source(source: str, observation: str | None = None) -> Iterable[Named]:
    """Return the episodes of "minari:ID", a folder of `.npz` files or an HDF5 file.

    Raises DataError for another source, and ImportError for a missing extra.
    """
    if source.startswith(MINARI):
        return MinariSource(source.removeprefix(MINARI), observation)
    path = Path(source)
    if path.is_dir():
        if observation is not None:
            raise DataError(f"{path}: .npz files hold no parts of observations to choose from")
        return read_folder(path)
    if path.suffix in HDF5 and path.is_file():
        return read_hdf5(path, observation)
    fault = "must be" if path.exists() else "there is no such folder or file; a source is"
    raise DataError(f"{source}: {fault} minari:ID, a folder of .npz files or a .hdf5 file")


def import_dataset(
    source: str,
    out: Path,
    *,
    observation: str | None = None,
    action_space: Space | None = None,
    action_names: Sequence[str] | None = None,
    limit: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Description:
    """Write the episodes of `source` to the new folder `out`; return their description.

    `observation` names the part of Dict observations to keep, `action_space` the actions that were
    possible; by default it is the source's, or the smallest that holds the recorded ones, which is
    logged; `action_names` replace its names. At most `limit` episodes are read. Raises DataError,
    which names the file or episode, for what cannot be trained on; `out` then does not exist.
    """
    if out.exists():
        raise DataError(f"{out}: exists; import into a new folder")
    episodes = open_source(source, observation)
    space = action_space or getattr(episodes, "action_space", None)
    partial = out.with_name(f"{out.name}.partial")
    if Path(source).resolve() == partial.resolve():
        raise DataError(f"{source}: {out} is first written there; choose another name for it")
    shutil.rmtree(partial, ignore_errors=True)  # of an import that was interrupted
    partial.mkdir(parents=True)
    try:
        seen = Seen()
        for number, (where, recorded, is_whole) in enumerate(islice(episodes, limit)):
            episode = recorded if is_whole else without_terminal_frame(recorded)
            seen.terminal_frames += episode is not recorded
            if space is not None and space.shape == (1,) and episode["actions"].ndim == 1:
                episode["actions"] = episode["actions"][:, None]
            seen.add(episode, space, where)
            if isinstance(space, BoxSpace):  # its numbers may be stored as integers
                episode["actions"] = as_actions(episode["actions"], space)
            save_episode(partial / f"episode-{number:06d}.npz", episode)
            progress(number + 1)
        description = seen.description(source, space, action_names)
        write_description(partial, description)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return description


@dataclass
class Seen:
    """The form and the extremes of the episodes so far."""

    episodes: int = 0
    steps: int = 0
    form: tuple[object, ...] = ()
    low: list[npt.NDArray[Any]] = field(default_factory=list)
    high: list[npt.NDArray[Any]] = field(default_factory=list)
    brightest: int = 0  # number of a frame
    terminal_frames: int = 0  # last ones that were no pictures

    def add(self, episode: Episode, space: Space | None, where: object) -> None:
        """Count a valid episode; DataError if it cannot be trained on, or not with the others."""
        check_raw_episode(episode, where)
        kind, actions = observation_field(episode, where), episode["actions"]
        form = (kind, episode[kind].shape[1:], actions.dtype, actions.shape[1:])
        if self.form and form != self.form:
            raise DataError(f"{where}: observations and actions are {form}, before {self.form}")
        self.form = form
        if space is not None:
            check_actions(actions, space, where)
        elif actions.dtype.kind == "i" and (actions.min() < 0 or actions.max() >= MAX_ACTIONS):
            raise DataError(
                f"{where}: actions are {actions.min()} to {actions.max()}; choices count from 0 and"
                f" are at most {MAX_ACTIONS}"
            )
        self.episodes, self.steps = self.episodes + 1, self.steps + len(actions)
        self.low.append(actions.min(axis=0))
        self.high.append(actions.max(axis=0))
        if kind == "frames":
            self.brightest = max(self.brightest, int(episode["frames"].max()))

    def description(
        self, source: str, space: Space | None, names: Sequence[str] | None
    ) -> Description:
        """Return the description; DataError without episodes, or for another number of names."""
        if not self.episodes:
            raise DataError(f"{source}: holds no episodes")
        if space is None:
            space = infer_space(np.min(self.low, axis=0), np.max(self.high, axis=0))
            logger.warning("actions are taken to be %s, as recorded; or give --actions", space)
        if names is not None:
            space = renamed(space, names)
        kind, shape = self.form[:2]
        if kind == "frames" and (fault := darkness(self.brightest)):
            logger.warning("%s: %s; scale them", source, fault)
        if self.terminal_frames:
            logger.warning(
                "%s: %d episodes end with an all-zero frame; its row is left out",
                *(source, self.terminal_frames),
            )
        return Description(
            source=source,
            observation_kind=kind,
            observation_shape=shape,
            action_space=space,
            episodes=self.episodes,
            steps=self.steps,
        )
