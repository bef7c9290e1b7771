"""The data of a loss or gradient that is not finite: which file, and which of its rows."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import SequentialSampler

from dreamserve_training.data.loaders import PassSampler
from dreamserve_training.data.streams import StreamSampler


class Losses(Protocol):
    """A module whose loss can be computed of one row of a batch."""

    def loss_of(self, batch: Any) -> torch.Tensor:
        """Return the loss, a scalar."""

    def row_of(self, batch: Any, row: int) -> Any:
        """Return a batch of one row."""

    def rows_in(self, batch: Any) -> int:
        """Return the number of rows."""

    def parameters(self) -> Iterable[torch.nn.Parameter]:
        """Return the parameters."""


@runtime_checkable
class Placed(Protocol):
    """A dataset that knows where its rows come from."""

    def places(self, indices: list[int]) -> list[str]:
        """Return where each row of the batch of `indices` comes from."""


def cause(module: Losses, batch: Any, loader: Any, epoch: int, index: int, gradients: bool) -> str:
    """Return which rows of batch `index` of `epoch` make the loss, or gradient, not finite."""
    rows = module.rows_in(batch)
    bad = [row for row in range(rows) if not _is_finite(module, batch, row, gradients)]
    if not bad or len(bad) == rows > 1:
        return "no single row of the batch is the cause: training has diverged, try a lower lr"
    places = _places(loader, epoch, index)
    named = [places[row] if row < len(places) else f"row {row} of the batch" for row in bad]
    more = f" and {len(bad) - 1} more of {rows} rows of the batch" if len(bad) > 1 else ""
    return f"caused by {named[0]}{more}"


def _is_finite(module: Losses, batch: Any, row: int, gradients: bool) -> bool:
    loss = module.loss_of(module.row_of(batch, row))
    if not gradients or not torch.isfinite(loss):
        return bool(torch.isfinite(loss))
    parameters = [each for each in module.parameters() if each.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    norms = [torch.linalg.vector_norm(each) for each in found if each is not None]
    return bool(torch.isfinite(torch.linalg.vector_norm(torch.stack(norms))))


def _places(loader: Any, epoch: int, index: int) -> list[str]:
    """Return where each row of a batch comes from; nothing for a loader that is not ours."""
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    dataset, ours = getattr(loader, "dataset", None), PassSampler | StreamSampler
    if not isinstance(sampler, ours | SequentialSampler) or not isinstance(dataset, Placed):
        return []
    if isinstance(sampler, ours):
        sampler.set_epoch(epoch)
    return dataset.places(*islice(loader.batch_sampler, index, index + 1))
