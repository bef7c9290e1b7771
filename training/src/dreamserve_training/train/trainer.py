"""The Lightning trainer of V and M: mixed precision, exact resume, finite losses, progress."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from dreamserve_training.data.shares import share
from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.progress import show_progress
from dreamserve_training.runs.errors import DivergedError
from dreamserve_training.runs.locks import locked
from dreamserve_training.runs.records import Record, begin, finish
from dreamserve_training.runs.signals import stoppable
from dreamserve_training.train.checkpoints import (
    AtomicCheckpoints,
    Checkpoints,
    epochs_of,
    last_path,
    read_checkpoint,
)
from dreamserve_training.train.epoch_log import EpochLog
from dreamserve_training.train.finite import cause
from dreamserve_training.train.means import EpochMeans
from dreamserve_training.train.processes import (
    ONE_DEVICE,
    Places,
    gathered,
    leads,
    processes_of,
)

logger = logging.getLogger("dreamserve_training")
Phase = Literal["train", "val"]
SEEDS_OF_A_PROCESS = 2**44  # so that processes draw different numbers

# Warnings of Lightning that do not apply here.
QUIET = (
    ".*does not have many workers.*",  # data is memory-mapped or cached
    ".*exists and is not empty.*",  # a run resumes in its directory
    ".*treespec, LeafSpec.* is deprecated.*",  # Lightning 2.6 with torch 2.13
    ".*The number of training batches .* is smaller than the logging interval.*",
    ".*have no `val_dataloader`. Skipping val loop.*",  # optional for M
)


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

    def log_mean(self, phase: Phase, losses: Mapping[str, Tensor], weight: Tensor | float) -> None:
        """Count the losses of a batch in the epoch's means, `train_NAME` or `val_NAME`."""
        self._means[phase].add(losses, weight)
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


@contextmanager
def training_run(
    directory: Path,
    model: str,
    record: Record,
    epochs: int,
    restart: bool,
    fresh: bool = False,
    places: Places = ONE_DEVICE,
) -> Iterator[Path | None]:
    """Hold the directory's lock for the run of `model`; yield the checkpoint to go on from.

    Raises MismatchError if the files there are of other settings or data, or of more epochs; with
    `restart` these are removed. With `fresh` all are removed.
    """
    last, product = last_path(directory, model), directory / f"{model}_best.pth"
    path = directory / f"{model}_run.json"
    if not leads(places):
        with stoppable():
            yield last if last.exists() else None
        return
    show_progress()
    with stoppable(), locked(directory, model):
        if fresh:
            for file in (last, product, path):
                file.unlink(missing_ok=True)
        begin(path, record, (last, product), reached=_reached(last, epochs), restart=restart)
        yield last if last.exists() else None
        finish(path, epochs=epochs_of(last))


def _reached(last: Path, epochs: int) -> str:
    """Return why a run with this checkpoint cannot end after `epochs`; empty if it can."""
    try:
        done = epochs_of(last)
    except CheckpointError as error:
        return str(error)
    return f"it has {done} epochs and is now asked for {epochs}" if done > epochs else ""


def fit(
    loop: GuardedModule,
    loaders: tuple[Any, Any],
    directory: Path,
    model: str,
    *,
    epochs: int,
    clip: float,
    resume_from: Path | None,
    device: str = "auto",
    mixed_precision: bool = True,
    patience: int | None = None,
    callbacks: tuple[Callback, ...] = (),
    places: Places = ONE_DEVICE,
) -> tuple[float, int]:
    """Train `loop` on `loaders`, (training, validation or None); load its best epoch's weights.

    The best epoch has the lowest `val_loss`, or `train_loss` without validation. Writes
    MODEL_last.ckpt after every epoch; MODEL is `model`, so V and M can share a directory. Returns
    the best loss and the number of epochs. Processes but the first of several exit instead.
    """
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    monitor = "train_loss" if loaders[1] is None else "val_loss"
    checkpoints = Checkpoints(directory, model, monitor, patience)
    earlier = None if resume_from is None else read_checkpoint(resume_from)
    done = 0
    if earlier is not None:
        checkpoints.load_state_dict(earlier["callbacks"]["Checkpoints"])
        done = earlier["epoch"] + 1
    if done < epochs and not checkpoints.out_of_patience(done):
        if done and leads(places):
            logger.info("%s goes on after epoch %d of %d", model, done, epochs)
        trainer = lightning.Trainer(
            accelerator={"cuda": "gpu"}.get(device, device),
            devices=places.devices,
            num_nodes=places.num_nodes,
            strategy=places.strategy,
            use_distributed_sampler=False,
            precision="bf16-mixed" if mixed_precision else "32-true",
            max_epochs=epochs,
            gradient_clip_val=clip,
            callbacks=[checkpoints, *([EpochLog()] if leads(places) else []), *callbacks],
            plugins=[AtomicCheckpoints()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        training, validation = (
            share(loader, trainer.global_rank, trainer.world_size) for loader in loaders
        )
        with processes_of(trainer):
            trainer.fit(loop, training, validation, ckpt_path=resume_from, weights_only=True)
        done = trainer.current_epoch
    loop.load_state_dict(checkpoints.best)
    return checkpoints.best_loss, done


def fused_adam(model: torch.nn.Module, rate: float) -> torch.optim.Adam:
    """Return Adam, which updates all parameters in one call."""
    return torch.optim.Adam(model.parameters(), lr=rate, fused=True)


def seed_step(seed: int, device: torch.device) -> None:
    """Seed torch's generators that a step uses, in a hundredth of `torch.manual_seed`'s time."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch; allow TF32 matrix products."""
    lightning.seed_everything(seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
