"""A loader's batches, shared by the processes of a training: each reads its rows only."""

from collections.abc import Iterator, Sized
from typing import Any

from torch.utils.data import BatchSampler, DataLoader

from dreamserve_training.data.loaders import SequenceLoader


class ShareSampler(BatchSampler):
    """Every `world`th row, from `rank` on, of the batches of another sampler.

    Together the processes have each row once. All have equally many batches: a last batch of fewer
    rows than processes is joined to the one before. Raises ValueError if a batch is too small.
    """

    def __init__(self, batches: BatchSampler, rank: int, world: int, rows: int) -> None:
        if min(batches.batch_size, rows) < world:
            raise ValueError(
                f"{world} processes cannot share batches of {min(batches.batch_size, rows)} rows:"
                " take fewer devices"
            )
        self.batches, self.rank, self.world = batches, rank, world
        self.sampler, self.batch_size = batches.sampler, batches.batch_size
        self.drop_last = batches.drop_last
        last = rows % batches.batch_size
        self._joins = not batches.drop_last and 0 < last < world

    def __len__(self) -> int:
        return len(self.batches) - self._joins

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._whole():
            yield batch[self.rank :: self.world]

    def _whole(self) -> Iterator[list[int]]:
        last = len(self) - 1
        batches = iter(self.batches)
        for index, batch in enumerate(batches):
            joined = next(batches) if self._joins and index == last else []
            yield [*batch, *joined]


def share(loader: Any, rank: int, world: int) -> Any:
    """Return the share of process `rank` of `world` of a loader; itself for one process or None.

    Raises ValueError for a loader that cannot be shared: `create_window_loader` (with windows in
    any order) and `frame_loader` return some that can.
    """
    if world == 1 or loader is None:
        return loader
    sampler: Any = getattr(loader, "batch_sampler", None)
    is_plain = isinstance(loader, DataLoader) and type(sampler) is BatchSampler
    rows = sampler.sampler if is_plain else None
    if not isinstance(rows, Sized):
        raise ValueError(
            "several devices need the batches of create_window_loader, without carry_state;"
            " these cannot be shared"
        )
    return SequenceLoader(
        loader.dataset,
        batch_sampler=ShareSampler(sampler, rank, world, len(rows)),
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        prefetch_factor=loader.prefetch_factor,
        pin_memory=loader.pin_memory,
    )
