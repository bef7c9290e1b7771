"""Batches of windows: collate functions, the sampler of epochs, and the loader."""

from collections.abc import Iterator, Sequence, Sized
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, Sampler

from dreamserve_training.data.actions import TakesActions, space_of
from dreamserve_training.data.episodes import DataError, Folders
from dreamserve_training.data.sequences import Item, SequenceDataset
from dreamserve_training.data.signals import Signals
from dreamserve_training.data.streams import StreamSampler
from dreamserve_training.data.windows import TrajectoryDataset


def pad_collate(items: Sequence[Item]) -> Item:
    """Stack items along a new first axis, B; pad shorter ones with zeros (mask: false)."""
    batch = {}
    for name, first in items[0].items():
        values = [item[name] for item in items]
        if first.ndim == 0 or len({len(value) for value in values}) == 1:
            batch[name] = torch.stack(values)
            continue
        longest = max(map(len, values))
        padded = first.new_zeros(len(values), longest, *first.shape[1:])
        for row, value in zip(padded, values, strict=True):
            row[: len(value)] = value
        batch[name] = padded
    return batch


def pack_collate(items: Sequence[Item]) -> dict[str, PackedSequence | Tensor]:
    """Return the items' tensors as PackedSequences, without padding; scalars are stacked.

    For models that accept a PackedSequence. It saves work if lengths differ widely.
    """
    return {
        name: torch.stack([item[name] for item in items])
        if first.ndim == 0
        else pack_sequence([item[name] for item in items], enforce_sorted=False)
        for name, first in items[0].items()
    }


class TakesLatents(TakesActions, Protocol):
    """What a check of batches needs to know of a memory model."""

    z_dim: int

    @property
    def signals(self) -> Sized:
        """The signals that it predicts."""


class PassSampler(Sampler[int]):
    """Indices of a dataset of `windows` items, epoch by epoch.

    With `shuffle`, epoch e is a permutation drawn from (`seed`, e), plus e · `windows`. Without,
    all epochs are equal, so that validation losses are comparable. A trainer that resumes calls
    `set_epoch` with the next epoch.
    """

    def __init__(self, windows: int, shuffle: bool, seed: int) -> None:
        self.windows, self.shuffle, self.seed = windows, shuffle, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the next one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.windows

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.windows))
        epoch, self.epoch = self.epoch, self.epoch + 1
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.windows, generator=generator)
        return iter((order + epoch * self.windows).tolist())


class SequenceLoader(DataLoader[Any]):
    """A DataLoader that starts an epoch when its first batch is requested.

    Lightning creates the iterator before it calls `set_epoch`, so workers that prefetched at once
    would read the wrong epoch after a resume.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # DataLoader names a private type
        yield from super().__iter__()


def check_batches(batches: object, model: TakesLatents) -> None:
    """Raise DataError, which names file and step, for data that `model` cannot be trained on.

    Reads every episode of a loader's `TrajectoryDataset` or `SequenceDataset` once; other batches
    are not checked.
    """
    dataset = getattr(batches, "dataset", None)
    if isinstance(dataset, TrajectoryDataset | SequenceDataset):
        found, predicted = len(dataset.signals), len(model.signals)
        if found != predicted:
            raise DataError(f"the data has {found} signals, the model predicts {predicted}")
        dataset.check(space_of(model), model.z_dim)


def create_window_loader(
    data_dir: Folders,
    batch_size: int = 32,
    sequence_length: int = 50,
    shuffle: bool = True,
    *,
    burn_in: int = 0,
    num_workers: int = 0,
    prefetch: int | None = None,
    seed: int = 0,
    cache_episodes: int = 256,
    pin_memory: bool = False,
    signals: Signals | None = None,
    in_order: bool = False,
) -> DataLoader[Item]:
    """Return a loader of windows of the latent episodes in `data_dir`, one folder or several.

    A batch is a dict of tensors (B, T, …), described in `dreamserve_training.data.sequences`,
    padded to its longest window. Each of `num_workers` processes prefetches `prefetch` batches
    (default: 2); without workers, batches are read on demand. Batches depend on `seed` and the
    epoch only. Raises DataError for a directory that cannot be read.

    `signals` are values that items hold beside the others. With `in_order`, for a training that
    carries M's state over windows, a window follows its predecessor in the next batch, and
    `shuffle` changes the order of episodes (see `StreamSampler`); windows need no `burn_in` then.
    """
    if in_order and burn_in:
        raise ValueError("windows in order need no burn_in: their state is carried over")
    if prefetch is not None and num_workers == 0:
        raise ValueError("prefetch needs num_workers of at least 1")
    dataset = TrajectoryDataset(
        data_dir,
        sequence_length,
        burn_in=None if in_order else burn_in,
        seed=seed,
        cache_episodes=cache_episodes,
        signals=signals,
    )
    order: dict[str, Any] = (
        {"batch_sampler": StreamSampler(dataset.windows, batch_size, shuffle, seed)}
        if in_order
        else {"batch_size": batch_size, "sampler": PassSampler(len(dataset), shuffle, seed)}
    )
    return SequenceLoader(
        dataset,
        **order,
        collate_fn=pad_collate,
        num_workers=num_workers,
        prefetch_factor=prefetch,
        pin_memory=pin_memory,
    )
