"""The Lightning trainer of V and M: mixed precision, exact resume, a log line per epoch."""

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

logger = logging.getLogger("dreamserve_training")

# Warnings of Lightning that do not apply here.
QUIET = (
    ".*does not have many workers.*",  # data is memory-mapped or cached
    ".*exists and is not empty.*",  # a run resumes in its directory
    ".*treespec, LeafSpec.* is deprecated.*",  # Lightning 2.6 with torch 2.13
    ".*The number of training batches .* is smaller than the logging interval.*",
    ".*have no `val_dataloader`. Skipping val loop.*",  # optional for M
)


class SeededModule(lightning.LightningModule):
    """A module whose random numbers in a batch depend on `config.seed` and the step only."""

    config: Any

    def on_train_batch_start(self, *_: Any) -> None:
        """Seed by step, so a resumed run draws the same numbers as an uninterrupted one."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step)


class EpochLog(Callback):
    """Log each epoch's metrics and the time left."""

    def __init__(self) -> None:
        self._start_s = 0.0
        self._first_epoch = 0

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Remember the first epoch of this run, which is not 0 after a resume."""
        self._start_s, self._first_epoch = time.monotonic(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Log the epoch's training and validation metrics."""
        done = trainer.current_epoch + 1
        epoch_s = (time.monotonic() - self._start_s) / (done - self._first_epoch)
        left_s = epoch_s * ((trainer.max_epochs or done) - done)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        text = "  ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
        logger.info(
            "epoch %d/%s  %s  %.0f s left", done, trainer.max_epochs or "?", text, max(left_s, 0)
        )


def make_trainer(
    directory: Path,
    model: str,
    *,
    max_epochs: int,
    clip: float,
    monitor: str,
    device: str = "auto",
    mixed_precision: bool = True,
    callbacks: tuple[Callback, ...] = (),
) -> lightning.Trainer:
    """Return a trainer that writes MODEL_last.ckpt, and MODEL_best.ckpt for the lowest `monitor`.

    MODEL is `model`, so V and M can share a directory.
    """
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    best = ModelCheckpoint(
        directory, filename=f"{model}_best", monitor=monitor, enable_version_counter=False
    )
    # Not save_last, which saves only when there is a new best: a resume would lose later epochs.
    # Saved at the end of the epoch, because the schedule steps after validation.
    last = ModelCheckpoint(
        directory,
        filename=f"{model}_last",
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    return lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
        devices=1,
        precision="bf16-mixed" if mixed_precision else "32-true",
        max_epochs=max_epochs,
        gradient_clip_val=clip,
        callbacks=[best, last, EpochLog(), *callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def last_checkpoint(directory: Path, model: str) -> Path | None:
    """Return the checkpoint from which an interrupted run of `model` resumes, if it exists."""
    path = directory / f"{model}_last.ckpt"
    return path if path.exists() else None


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch; allow TF32 matrix products."""
    lightning.seed_everything(seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
