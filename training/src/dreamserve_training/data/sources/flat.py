"""Files of flat arrays: one episode each, or many after one another, cut where they end.

D4RL's HDF5 has arrays `observations`, `actions`, `rewards`, `terminals`, `timeouts` (N, …), all
episodes in one (Fu et al. 2020).
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dreamserve_training.data.episodes import DataError, Episode, episode_paths, load_episode_arrays
from dreamserve_training.data.numbers import check_flags
from dreamserve_training.data.sources.forms import (
    canonical_names,
    check_rows,
    to_episode,
    without_last_axis,
)

Arrays = Mapping[str, Any]  # name → array, or h5py dataset, (N, …)


class Named(NamedTuple):
    """An episode, and where it stands."""

    where: str
    episode: Episode
    ends_acted_in: bool  # whether an action was surely taken in its last observation


def read_folder(folder: Path) -> Iterator[Named]:
    """Yield the episodes of the `.npz` files of `folder`; DataError names the file."""
    for path in episode_paths(folder):
        yield from split_episodes(load_episode_arrays(path), path)


def read_hdf5(path: Path, observation: str | None = None) -> Iterator[Named]:
    """Yield the episodes of an HDF5 file of flat arrays.

    `observation` names one of several arrays in a group of observations. Raises DataError for
    another file, and ImportError without h5py.
    """
    try:
        import h5py  # an extra
    except ImportError as error:
        message = f"{path} needs h5py: pip install 'dreamserve-training[hdf5]'"
        raise ImportError(message) from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: cannot be read as HDF5 ({error})") from error
    with file:
        arrays = dict(file)
        group = arrays.get("observations")
        if isinstance(group, h5py.Group) or observation is not None:
            arrays["observations"] = part_of(group, observation, path)
        found = {name: value for name, value in arrays.items() if isinstance(value, h5py.Dataset)}
        if "timeouts" not in found and "next_observations" not in found:
            canonical_names(found, path)
            raise DataError(
                f"{path}: lacks timeouts (N,), so nothing says where a time limit ended an episode;"
                " add them, or next_observations (N, …)"
            )
        yield from split_episodes(found, path)


def part_of(parts: Any, key: str | None, where: object) -> Any:
    """Return the part `key`, such as "camera" or "robot/camera", of nested observations.

    Parts of a tuple are called 0, 1, …. The only part need not be named.
    """
    value: Any = parts
    for name in key.split("/") if key else ():
        value = _named(value)
        if not isinstance(value, Mapping) or name not in value:
            held = sorted(value) if isinstance(value, Mapping) else "no parts"
            raise DataError(f"{where}: no part {name!r} of the observations; they have {held}")
        value = value[name]
    while isinstance(value := _named(value), Mapping) and len(value) == 1:
        (value,) = value.values()
    if isinstance(value, Mapping):
        raise DataError(
            f"{where}: observations have the parts {sorted(value)}; choose one with --observation"
        )
    return value


def _named(value: Any) -> Any:
    """Return the parts of a tuple by their numbers, everything else as it is."""
    return {str(i): part for i, part in enumerate(value)} if isinstance(value, tuple) else value


def split_episodes(arrays: Arrays, where: object) -> Iterator[Named]:
    """Yield the episodes in `arrays`, cut after every row that terminates or is truncated.

    Without truncations, episodes are also cut where an observation is not the row before's
    `next_observations`.
    """
    names = canonical_names(arrays, where)
    check_rows({name: arrays[held] for name, held in names.items()}, where)
    rows = len(arrays[names["rewards"]])
    bounds = episode_bounds(arrays, names, where)
    longer = len(arrays[names["observations"]]) == rows + 1
    if longer and len(bounds) > 2:
        raise DataError(f"{where}: N + 1 observations of several episodes cannot be told apart")
    for begin, end in pairwise(bounds):
        parts = {}
        for name in ("observations", "actions", "rewards", "terminated"):
            stop = end + (longer and name == "observations")
            parts[name] = np.asarray(arrays[names[name]][begin:stop])
        place = f"{where}, rows {begin} to {end - 1}" if len(bounds) > 2 else str(where)
        yield Named(place, to_episode(parts, place), longer)


def episode_bounds(arrays: Arrays, names: dict[str, str], where: object) -> list[int]:
    """Return the first row of each episode, and the number of rows."""
    rows = len(arrays[names["rewards"]])
    ends = np.zeros(rows, np.bool_)
    for name in ("terminated", "truncated"):
        if name in names:
            flags = {names[name]: without_last_axis(np.asarray(arrays[names[name]]))}
            check_flags(flags, names[name], where)
            ends |= flags[names[name]].astype(np.bool_)
    if "truncated" not in names and "next_observations" in arrays:
        seen, following = arrays[names["observations"]], arrays["next_observations"]
        if following.shape != (rows, *seen.shape[1:]):
            raise DataError(
                f"{where}: next_observations are {following.shape}, not {(rows, *seen.shape[1:])}"
            )
        ends[:-1] |= _jumps(seen, following, rows)
    elif "truncated" not in names and ends[:-1].any():
        raise DataError(
            f"{where}: episodes end inside the file, but no truncations or timeouts (N,) say where"
            " time limits ended others; add them"
        )
    return sorted({0, *(np.flatnonzero(ends) + 1).tolist(), rows})


def _jumps(observations: Any, following: Any, rows: int) -> npt.NDArray[np.bool_]:
    """Return (N - 1,), whether row t + 1 is not what row t led to."""
    jumps = np.zeros(rows - 1, np.bool_)
    chunk = 4096
    for begin in range(0, rows - 1, chunk):
        end = min(begin + chunk, rows - 1)
        differs = np.asarray(observations[begin + 1 : end + 1]) != np.asarray(following[begin:end])
        jumps[begin:end] = differs.reshape(end - begin, -1).any(axis=1)
    return jumps
