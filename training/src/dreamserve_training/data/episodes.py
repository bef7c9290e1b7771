"""An episode on disk: one `.npz` file, written atomically.

An episode of T steps has arrays of length T, aligned as in the manifest: `actions[t]` is taken in
`frames[t]` (or `vectors[t]`, or `mu[t]`, `logvar[t]`) and yields `rewards[t]` and `terminated[t]`.
The frame after the last action is not stored: a terminal observation is often not a picture
(ViZDoom's is all zeros) and must not be trained on.
"""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from dreamserve_training.files import atomic_write, write_arrays

Episode = dict[str, npt.NDArray[np.generic]]
Split = Literal["train", "holdout"]  # the episodes that train, and those that are held out
SPLITS: tuple[Split, ...] = get_args(Split)
Folders = str | Path | Sequence[Path]  # one folder of episodes, or several

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

# Beside the episodes of a folder: what it holds if it was imported; how they were collected, or
# taken from such a folder.
DESCRIPTION_FILE, COLLECTED_FILE, TAKEN_FILE = "dataset.json", "collect_run.json", "data_run.json"

# What numpy and zipfile raise for a file that is damaged, or something else.
_UNREADABLE = (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


class DataError(ValueError):
    """An episode file that cannot be trained on; the message says which file and why."""


def episode_paths(directory: Folders) -> list[Path]:
    """Return the episode files of `directory`, sorted by name; DataError if it has none.

    Of several directories: the files of each in turn.
    """
    if not isinstance(directory, str | Path):
        return [path for each in directory for path in episode_paths(each)]
    directory = Path(directory)
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory of episodes")
    paths = sorted(directory.glob("*.npz"))
    if not paths:
        raise DataError(f"{directory}: holds no episode files (*.npz)")
    return paths


def save_episode(path: Path, episode: Episode) -> None:
    """Write `episode` to `path` atomically."""
    with atomic_write(path) as file:
        write_arrays(file, episode)


def load_episode(path: Path, fields: tuple[str, ...] | None = None) -> Episode:
    """Return `fields` (default: all) of one episode; DataError if the file is invalid."""
    episode = load_episode_arrays(path, fields)
    lengths = {name: len(array) for name, array in episode.items() if array.ndim}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{path}: arrays must have the same length, not {lengths}{_hint(lengths)}")
    if 0 in lengths.values():
        raise DataError(f"{path}: the episode has no steps")
    return episode


def load_episode_arrays(path: Path, fields: tuple[str, ...] | None = None) -> Episode:
    """Return `fields` (default: all) of a file, of any length; DataError if it cannot be read."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            names = fields if fields is not None else tuple(archive.files)
            arrays = {name: archive[name] for name in names}
    except KeyError as error:
        raise DataError(f"{path}: {error.args[0]}") from error
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as an episode ({error})") from error
    if other := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise DataError(f"{path}: {', '.join(other)}: is not an array")
    return arrays


class Header(NamedTuple):
    """Shape and dtype of a stored array."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


def read_headers(path: Path) -> dict[str, Header]:
    """Return the header of every array of an episode file, without reading the arrays.

    Raises DataError for a file that is not a readable `.npz`.
    """
    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    shape, _, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
                headers[name.removesuffix(".npy")] = Header(shape, dtype)
    except (KeyError, *_UNREADABLE) as error:
        raise DataError(f"{path}: cannot be read as an episode ({error})") from error
    return headers


def length_of(path: Path, *fields: str) -> int:
    """Return the steps of an episode by its headers; DataError without steps or any of `fields`."""
    headers = read_headers(path)
    if missing := [name for name in fields if name not in headers]:
        raise DataError(f"{path}: lacks {', '.join(missing)}")
    shape = headers[fields[0]].shape
    if not (shape and shape[0]):
        raise DataError(f"{path}: the episode has no steps")
    return shape[0]


def _hint(lengths: dict[str, int]) -> str:
    """Return what would be right, if only the observations have one row more than the rest."""
    steps = lengths.get("actions", 0)
    longer = [name for name, length in lengths.items() if length != steps]
    if longer in (["frames"], ["vectors"]) and lengths[longer[0]] == steps + 1:
        return f"; leave out the last of the {longer[0]}, which no action was taken in"
    return ""
