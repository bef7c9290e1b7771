"""Windows of latent episodes on disk, read on demand."""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from dreamserve.spaces import Space
from dreamserve_training.data.actions import check_actions
from dreamserve_training.data.checks import STEP_FIELDS, check_latent_episode, latent_fields
from dreamserve_training.data.digests import Digest, files_digest
from dreamserve_training.data.episodes import (
    DataError,
    Episode,
    Folders,
    Header,
    episode_paths,
    load_episode,
    read_headers,
)
from dreamserve_training.data.sequences import Item, as_item
from dreamserve_training.data.signals import (
    Signals,
    check_recorded,
    signal_columns,
    signal_values,
)
from dreamserve_training.runs.records import describe

Float32 = npt.NDArray[np.float32]


class TrajectoryDataset(Dataset[Item]):
    """Windows of at most `sequence_length` + `burn_in` steps of latent episodes in folders.

    `dreamserve_training.data.sequences` describes the items. In an epoch every step of every
    episode counts exactly once; `mask` is false on steps of context, which only warm up the
    recurrent state. A window after an episode's first has `burn_in` steps of context; its last
    window has as many as make it full. Windows never cross episodes; an episode shorter than a
    window is a shorter item. With `burn_in` None, windows have no context, the last one neither.

    `signals` are made of numbers that are recorded with each step; items then hold their values.

    From mu and logvar a new z is drawn in every epoch: item i is a pure function of (`seed`, i),
    and indices from len(self) on are the same windows in later epochs.

    The constructor reads array headers only (DataError if it cannot); episodes are read and
    checked on first use, and the `cache_episodes` most recently used are kept in memory. `check`
    reads all of them at once.
    """

    def __init__(
        self,
        data_dir: Folders,
        sequence_length: int,
        *,
        burn_in: int | None = 0,
        seed: int = 0,
        cache_episodes: int = 256,
        signals: Signals | None = None,
    ) -> None:
        if sequence_length < 1 or (burn_in or 0) < 0 or cache_episodes < 1:
            raise ValueError("sequence_length and cache_episodes must be >= 1, burn_in >= 0")
        self.paths = episode_paths(data_dir)
        self.sequence_length, self.burn_in, self.seed = sequence_length, burn_in, seed
        headers = [read_headers(path) for path in self.paths]
        self.fields = (*latent_fields(set(headers[0]), self.paths[0]), *STEP_FIELDS)
        self.signals = dict(signals or {})
        check_recorded(self.signals, set(headers[0]), self.paths[0])
        self.fields = tuple(dict.fromkeys((*self.fields, *signal_columns(self.signals))))
        self.z_dim = headers[0][self.fields[0]].shape[-1]
        self.lengths = np.array(
            [self._length(path, arrays) for path, arrays in zip(self.paths, headers, strict=True)]
        )
        self.windows = window_table(self.lengths, sequence_length, burn_in)
        self._cache: OrderedDict[int, Episode] = OrderedDict()
        self._cache_episodes = cache_episodes

    def __len__(self) -> int:
        return len(self.windows)

    def check(self, space: Space, z_dim: int) -> None:
        """Raise DataError, which names file and step, for what a model cannot be trained on.

        `space` and `z_dim` are the model's. Every episode is read once.
        """
        if z_dim != self.z_dim:
            raise DataError(
                f"{self.paths[0]}: latents have {self.z_dim} numbers, the model takes {z_dim}"
            )
        for number, path in enumerate(self.paths):
            check_actions(self._load(number)["actions"], space, path)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Item:
        if index < 0:
            raise IndexError(f"window index must not be negative: {index}")
        number, context, begin, end = self.windows[index % len(self)].tolist()
        episode = self._episode(number)
        z = self._latents(episode, context, min(end + 1, self.lengths[number]), index)
        steps = end - context
        item = as_item(
            z,
            {name: episode[name][context:end] for name in self._steps()},
            mask=np.arange(steps) >= begin - context,
            start=context == 0,
        )
        return {**item, "episode": torch.tensor(number)}

    def digest(self) -> Digest:
        """Return what identifies the windows: the files, and how they are cut and sampled."""
        cut = {"sequence_length": self.sequence_length, "burn_in": self.burn_in}
        signals = {"signals": describe(self.signals)} if self.signals else {}
        return {**files_digest(self.paths), **cut, "sampled_with": self.seed, **signals}

    def places(self, indices: list[int]) -> list[str]:
        """Return the file and the steps of each window of `indices`."""
        rows = [self.windows[index % len(self)].tolist() for index in indices]
        return [
            f"{self.paths[number]}, steps {context} to {end - 1}"
            for number, context, _, end in rows
        ]

    def _steps(self) -> tuple[str, ...]:
        return (*STEP_FIELDS, "signals") if self.signals else STEP_FIELDS

    def _latents(self, episode: Episode, begin: int, end: int, index: int) -> Float32:
        if "z" in self.fields:
            return episode["z"][begin:end].astype(np.float32)
        z = episode["mu"][begin:end].astype(np.float32)
        spread = np.exp(np.float32(0.5) * episode["logvar"][begin:end].astype(np.float32))
        generator = np.random.default_rng((self.seed, index))
        z += spread * generator.standard_normal(z.shape, np.float32)
        return z

    def _episode(self, number: int) -> Episode:
        episode = self._cache.pop(number, None)
        if episode is None:
            episode = self._load(number)
            if len(self._cache) >= self._cache_episodes:
                self._cache.popitem(last=False)
        self._cache[number] = episode
        return episode

    def _load(self, number: int) -> Episode:
        path = self.paths[number]
        episode = load_episode(path, self.fields)
        check_latent_episode(episode, path)
        if len(episode["actions"]) != self.lengths[number]:
            raise DataError(f"{path}: changed while in use")
        if self.signals:
            episode["signals"] = signal_values(self.signals, episode, path)
        return episode

    def _length(self, path: Path, headers: dict[str, Header]) -> int:
        missing = [name for name in self.fields if name not in headers]
        if missing:
            raise DataError(f"{path}: lacks {', '.join(missing)}, which the other episodes have")
        latents = headers[self.fields[0]].shape
        if len(latents) != 2 or latents[1] != self.z_dim:
            raise DataError(f"{path}: latents are {latents}; in the first file (T, {self.z_dim})")
        if latents[0] < 1:
            raise DataError(f"{path}: the episode has no steps")
        return latents[0]


def window_table(
    lengths: npt.NDArray[np.int64], sequence_length: int, burn_in: int | None
) -> npt.NDArray[np.int64]:
    """Return (N, 4): each window's episode, first step of context, first step and end."""
    rows = []
    for episode, length in enumerate(lengths.tolist()):
        for begin in range(0, length, sequence_length):
            end = min(begin + sequence_length, length)
            context = begin if burn_in is None else max(0, end - sequence_length - burn_in)
            rows.append((episode, context, begin, end))
    return np.array(rows, np.int64)
