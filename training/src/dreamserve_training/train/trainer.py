"""The Lightning trainer of V and M: mixed precision, exact resume, progress."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from dreamserve_training.data.shares import share
from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.progress import show_progress
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
from dreamserve_training.train.devices import check_device
from dreamserve_training.train.epoch_log import EpochLog
from dreamserve_training.train.guarded_module import GuardedModule
from dreamserve_training.train.processes import (
    ONE_DEVICE,
    Places,
    leads,
    processes_of,
)

logger = logging.getLogger("dreamserve_training")

# Warnings of Lightning that do not apply here.
QUIET = (
    ".*does not have many workers.*",  # data is memory-mapped or cached
    ".*exists and is not empty.*",  # a run resumes in its directory
    ".*treespec, LeafSpec.* is deprecated.*",  # Lightning 2.6 with torch 2.13
    ".*The number of training batches .* is smaller than the logging interval.*",
    ".*have no `val_dataloader`. Skipping val loop.*",  # optional for M
)


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
    the best loss and the number of epochs. Processes but the first of several exit instead. Raises
    ValueError for a device that this machine lacks.
    """
    check_device(device, places.devices)
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


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch; allow TF32 matrix products."""
    lightning.seed_everything(seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
