"""Batches of windows in their episodes' order, so that M's state can be carried over windows."""

import heapq
from collections.abc import Iterator
from itertools import zip_longest
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

T = TypeVar("T")


class StreamSampler(Sampler[list[int]]):
    """Batches of window indices, epoch by epoch: a row each of up to `streams` streams.

    A stream is a list of whole episodes, whose windows follow each other: a window that is not its
    episode's first is in the batch after that of the window before it. Episodes are dealt out so
    that the streams are about equally long; where some end earlier, batches have fewer rows, at the
    end of an epoch only. With `shuffle`, the order within the streams and of the rows is drawn from
    (`seed`, epoch), and epoch e has indices from e · windows on. Without, all epochs are equal.

    `windows` (N, 4) is `TrajectoryDataset.windows`. A trainer that resumes calls `set_epoch`.
    """

    def __init__(
        self, windows: npt.NDArray[np.int64], streams: int, shuffle: bool, seed: int
    ) -> None:
        if streams < 1:
            raise ValueError(f"batches need at least one stream, not {streams}")
        self.batch_size, self.shuffle, self.seed = streams, shuffle, seed
        self.windows, self.epoch = len(windows), 0
        episodes: dict[int, list[int]] = {}
        for index, number in enumerate(windows[:, 0].tolist()):
            episodes.setdefault(number, []).append(index)
        self._streams = _dealt(list(episodes.values()), streams)

    @property
    def sampler(self) -> "StreamSampler":
        """Itself: where trainers look for `set_epoch`, and digests for the order."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the next one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(sum(map(len, stream)) for stream in self._streams)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first, streams = 0, 0, self._streams
        if self.shuffle:
            epoch, self.epoch = self.epoch, self.epoch + 1
            first = epoch * self.windows
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            streams = _shuffled([_shuffled(stream, generator) for stream in streams], generator)
        rows = [[first + index for episode in stream for index in episode] for stream in streams]
        for batch in zip_longest(*rows):
            yield [index for index in batch if index is not None]


def _dealt(episodes: list[list[int]], streams: int) -> list[list[list[int]]]:
    """Deal the episodes out to streams: each, from the longest on, to the shortest stream."""
    heap: list[tuple[int, int]] = [(0, number) for number in range(min(streams, len(episodes)))]
    dealt: list[list[list[int]]] = [[] for _ in heap]
    for episode in sorted(episodes, key=len, reverse=True):
        length, number = heapq.heappop(heap)
        dealt[number].append(episode)
        heapq.heappush(heap, (length + len(episode), number))
    return dealt


def _shuffled(items: list[T], generator: torch.Generator) -> list[T]:
    return [items[index] for index in torch.randperm(len(items), generator=generator).tolist()]
