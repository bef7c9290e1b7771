"""Batches of windows: the collate functions, the order of passes, and the loader of both."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, Sampler

from dreamserve_training.data.sequences import Item
from dreamserve_training.data.windows import TrajectoryDataset


def pad_collate(items: Sequence[Item]) -> Item:
    """Stack items along a new first axis, B; shorter ones are followed by zeros (mask: false)."""
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
    """Pack items as cuDNN reads them, without padding; scalars are stacked.

    For models that take a PackedSequence: worth it where lengths differ widely.
    """
    return {
        name: torch.stack([item[name] for item in items])
        if first.ndim == 0
        else pack_sequence([item[name] for item in items], enforce_sorted=False)
        for name, first in items[0].items()
    }


class PassSampler(Sampler[int]):
    """Indices of one pass after another over a `TrajectoryDataset`.

    With `shuffle`, pass p is a permutation drawn from (`seed`, p) with fresh draws of z; without,
    every pass is the same one, so that validation compares like with like. A trainer that resumes
    tells which pass comes next by `set_epoch`.
    """

    def __init__(self, windows: int, shuffle: bool, seed: int) -> None:
        self.windows, self.shuffle, self.seed = windows, shuffle, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the next pass."""
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


class SequenceLoader(DataLoader[Item]):
    """A DataLoader that begins a pass when its first batch is asked for, not before.

    A trainer makes the iterator first and says which epoch it is afterwards; workers that
    prefetch at once would begin the wrong pass after a resume.
    """

    def __iter__(self) -> Iterator[Item]:  # type: ignore[override]  # DataLoader names a private type
        yield from super().__iter__()


def create_window_loader(
    data_dir: str | Path,
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
) -> DataLoader[Item]:
    """Return batches of windows over the latent episodes of `data_dir`, for training M.

    Each batch is a dict of tensors (B, T, …) as `TrajectoryDataset` describes, padded to its
    longest window. `num_workers` processes read ahead, each `prefetch` batches (2, if None); with
    none, batches are read on demand. The batches are a pure function of `seed` and
    the pass, whatever the number of workers. Raises DataError for a directory that cannot be read.
    """
    if prefetch is not None and num_workers == 0:
        raise ValueError("prefetch needs num_workers, the processes that read ahead")
    dataset = TrajectoryDataset(
        data_dir, sequence_length, burn_in=burn_in, seed=seed, cache_episodes=cache_episodes
    )
    return SequenceLoader(
        dataset,
        batch_size=batch_size,
        sampler=PassSampler(len(dataset), shuffle, seed),
        collate_fn=pad_collate,
        num_workers=num_workers,
        prefetch_factor=prefetch,
        pin_memory=pin_memory,
    )
