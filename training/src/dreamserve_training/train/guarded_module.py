"""The Lightning module of V and M: random numbers by step, finite losses only, means of epochs."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import lightning
import torch
from torch import Tensor

from dreamserve_training.models.terms import Terms, joined
from dreamserve_training.runs.errors import DivergedError
from dreamserve_training.train.finite import cause
from dreamserve_training.train.means import EpochMeans
from dreamserve_training.train.processes import gathered, summed

Phase = Literal["train", "val"]
SEEDS_OF_A_PROCESS = 2**44  # so that processes draw different numbers


class GuardedModule(lightning.LightningModule):
    """A module of one model, trained by `loss_of` on finite losses and gradients only.

    Random numbers in a batch depend on `config.seed` and the step only, so a resumed run draws the
    same numbers as an uninterrupted one.
    """

    config: Any
    _batch: tuple[Any, int] = (None, -1)

    def __init__(self) -> None:
        super().__init__()
        self._means = {"train": EpochMeans(), "val": EpochMeans()}

    def loss_of(self, batch: Any) -> Tensor:
        """Return the loss of a batch, a scalar."""
        raise NotImplementedError

    def row_of(self, batch: Any, row: int) -> Any:
        """Return a batch of one row."""
        if isinstance(batch, Mapping):
            return {name: values[row : row + 1] for name, values in batch.items()}
        return batch[row : row + 1]

    def rows_in(self, batch: Any) -> int:
        """Return the number of rows of a batch."""
        return len(next(iter(batch.values())) if isinstance(batch, Mapping) else batch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed by step, and remember the batch for `configure_gradient_clipping`."""
        self._batch = batch, batch_idx
        seed = self.config.seed * 1_000_003 + self.global_step
        seed_step(seed + self.global_rank * SEEDS_OF_A_PROCESS, self.device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the groups of the optimizer's parameters, whose options may be changed."""
        (optimizer,) = self.trainer.optimizers
        return optimizer.param_groups

    def shared(self, terms: Terms) -> Tensor:
        """Return this process's part of a batch's loss: the mean of all parts is the batch's loss.

        Gradients are the mean of the processes'. Each has its rows of the batch, and in them more
        or fewer errors than another.
        """
        if self.trainer.world_size == 1:
            return joined(terms)["loss"]
        counts = summed(torch.stack([term.number.double() for term in terms.values()]))
        shares = (counts.clamp(min=1) / self.trainer.world_size).float()
        parts = [term.weight * term.total for term in terms.values()]
        return torch.stack(parts).div(shares).sum()

    def log_terms(self, phase: Phase, terms: Terms) -> None:
        """Count the terms of a batch in the epoch's means, `train_NAME` or `val_NAME`."""
        self._means[phase].add(terms)
        if phase == "train" and self.trainer.is_last_batch:
            self._log_means(phase)

    def on_validation_epoch_end(self) -> None:
        """Log the means of the validation."""
        self._log_means("val")

    def _log_means(self, phase: Phase) -> None:
        means = self._means[phase].take(partial(self.trainer.strategy.reduce, reduce_op="sum"))
        named = {f"{phase}_{name}": value for name, value in means.items()}
        if not all(map(torch.isfinite, means.values())):
            raise DivergedError(f"a loss is not finite: {named}")
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def finite(self, loss: Tensor, batch: Any, batch_idx: int, phase: Phase) -> Tensor:
        """Return `loss`; DivergedError, which names the data, if it is not finite.

        Several processes find it together: by the gradient, or by the validation's means.
        """
        if self.trainer.world_size == 1 and not torch.isfinite(loss):
            said = {"train": "training", "val": "validation"}[phase]
            raise self._diverged(f"{said} loss is {loss.item()}", batch, batch_idx, phase)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the gradient; DivergedError if it is not finite."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val or float("inf"))
        if not torch.isfinite(norm):
            raise self._diverged("the gradient is not finite", *self._batch, "train")

    def _diverged(self, what: str, batch: Any, batch_idx: int, phase: Phase) -> DivergedError:
        training = phase == "train"
        loader = self.trainer.train_dataloader if training else self.trainer.val_dataloaders
        gradients = what.startswith("the gradient")
        why = cause(self, batch, loader, self.trainer.current_epoch, batch_idx, gradients)
        if self.trainer.world_size > 1:
            why = next((text for text in gathered(why) if text.startswith("caused")), why)
        where = f"epoch {self.trainer.current_epoch + 1}, batch {batch_idx + 1}"
        return DivergedError(f"{what} in {where}: {why}")


def seed_step(seed: int, device: torch.device) -> None:
    """Seed torch's generators that a step uses, in a hundredth of `torch.manual_seed`'s time."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)
