"""Train M by teacher forcing: each step takes the real z_t and predicts z_{t+1}.

dreamserve-train memory takecover --out runs/takecover
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from dreamserve.backends.choose import cores
from dreamserve_training.data.digests import batches_digest, file_hash
from dreamserve_training.data.loaders import check_batches
from dreamserve_training.data.sequences import Item
from dreamserve_training.models.catalog import save_memory, take_weights
from dreamserve_training.models.terms import Term, joined
from dreamserve_training.models.world_model import LossWeights, State, WorldModel
from dreamserve_training.runs.options import PLACE, AboveZero, AtLeastZero, Count, Options, Whole
from dreamserve_training.runs.records import Record, describe
from dreamserve_training.train.carried import CarriedState, state_in
from dreamserve_training.train.guarded_module import GuardedModule, Phase
from dreamserve_training.train.processes import Strategy
from dreamserve_training.train.schedules import cosine
from dreamserve_training.train.trainer import (
    fit,
    fused_adam,
    seed_everything,
    training_run,
)

Batches = Iterable[Item]
Device = Literal["auto", "cpu", "cuda", "mps"]


def _readers() -> int:
    return min(4, cores() - 1) if torch.cuda.is_available() else 0


@dataclass(frozen=True)
class TrainConfig(Options):
    """Options of M's training."""

    lr: AtLeastZero = 1e-3
    epochs: Count = 20
    device: Device = field(default="auto", metadata=PLACE)  # auto: the best available
    save_dir: str = field(default="checkpoints", metadata=PLACE)
    clip: AboveZero = 1.0  # maximum norm of the gradient
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    early_stopping_patience: Count | None = None  # epochs without a better loss; None: never stop
    reward_weight: AtLeastZero = 1.0
    done_weight: AtLeastZero = 1.0
    done_pos_weight: AtLeastZero = 10.0  # as in the paper's code, because ends are rare
    signal_weight: AtLeastZero = 1.0  # of each signal
    carry_state: bool = False  # of M, from an episode's window to the next one
    mixed_precision: bool = True  # bfloat16 autocast; losses stay in float32
    resume: bool = field(default=True, metadata=PLACE)  # from a checkpoint; False: start over
    # start over if the files there are of other settings or data
    restart: bool = field(default=False, metadata=PLACE)
    seed: Whole = 0
    # processes that read batches ahead of a CUDA device; a CPU is busy with training
    readers: Whole = field(default_factory=_readers, metadata=PLACE)
    devices: Count = field(default=1, metadata=PLACE)  # of each machine; they share the batches
    num_nodes: Count = field(default=1, metadata=PLACE)  # machines
    strategy: Strategy = field(default="auto", metadata=PLACE)  # Lightning's

    @property
    def weights(self) -> LossWeights:
        """The weights of the loss terms."""
        return LossWeights(
            self.reward_weight, self.done_weight, self.done_pos_weight, self.signal_weight
        )


@dataclass(frozen=True)
class TrainResult:
    """The result of `train_memory`."""

    path: Path  # of the best model
    best_loss: float
    epochs: int


class MemoryLoop(GuardedModule):
    """The Lightning module of M, trained on the model's own losses."""

    def __init__(self, model: WorldModel, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self._state_after: State = ()  # of the last batch
        self._carried: dict[Phase, CarriedState] = {
            "train": CarriedState(model),
            "val": CarriedState(model),
        }

    def terms(self, batch: Item) -> dict[str, Term]:
        """Return the loss terms of a batch by name."""
        output = self.model(batch["z"], batch["actions"], state_in(batch))
        self._state_after = output.state
        return self.model.loss_terms(output, batch, self.config.weights)

    def losses(self, batch: Item) -> dict[str, Tensor]:
        """Return the means of the loss terms by name, and their weighted sum `loss`."""
        return joined(self.terms(batch))

    def loss_of(self, batch: Item) -> Tensor:
        """Return the loss of a batch, a scalar."""
        return self.losses(batch)["loss"]

    def training_step(self, batch: Item, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        return self._logged(batch, batch_idx, "train")

    def validation_step(self, batch: Item, batch_idx: int) -> None:
        """Log the losses of held-out sequences."""
        self._logged(batch, batch_idx, "val")

    def _logged(self, batch: Item, batch_idx: int, phase: Phase) -> Tensor:
        terms = self.terms(batch)
        loss = self.finite(self.shared(terms), batch, batch_idx, phase)
        if self.config.carry_state:
            self._carried[phase].keep(batch, self._state_after)
        self.log_terms(phase, terms)
        return loss

    def on_train_batch_start(self, batch: Item, batch_idx: int) -> None:
        """Seed, and set the rate of a cosine schedule, which changes once per epoch."""
        super().on_train_batch_start(batch, batch_idx)
        self._give_state(batch, "train")
        if self.config.schedule == "cosine":
            for group in self.parameter_groups():
                group["lr"] = self.config.lr * cosine(self.current_epoch / self.config.epochs)

    def on_validation_batch_start(
        self, batch: Item, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Give the batch the state of the one before."""
        self._give_state(batch, "val")

    def _give_state(self, batch: Item, phase: Phase) -> None:
        if self.config.carry_state:
            self._carried[phase].give(batch)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam, with the schedule that depends on losses, if it is configured."""
        optimizer = fused_adam(self.model, self.config.lr)
        if self.config.schedule != "plateau":
            return optimizer
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": plateau, "monitor": self._monitor()},
        }

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Do nothing: Lightning asks after the checkpoint, which would lack the epoch's step."""

    def on_train_epoch_end(self) -> None:
        """Show a plateau schedule the epoch's loss, before the checkpoint is written."""
        plateau = self.lr_schedulers()
        if isinstance(plateau, torch.optim.lr_scheduler.ReduceLROnPlateau):
            plateau.step(float(self.trainer.callback_metrics[self._monitor()]))

    def _monitor(self) -> str:
        return "train_loss" if self.trainer.val_dataloaders is None else "val_loss"


def train_memory(
    model: WorldModel,
    dataloader: Batches,
    config: TrainConfig | Mapping[str, Any],
    validation: Batches | None = None,
    callbacks: tuple[Callback, ...] = (),
    initial: str | Path | None = None,
) -> TrainResult:
    """Train `model` in place and write its best weights to `save_dir`/MODEL_best.pth.

    MODEL is the model's name. The best epoch has the lowest `val_loss`, or `train_loss` without
    `validation`; on return `model` has its weights. MODEL_run.json says what it was trained on.
    After an interruption, the same call resumes after the last complete epoch and gives the same
    weights as an uninterrupted run; with more epochs it trains on.

    `initial` is the checkpoint of a model of the same core and sizes, from whose weights training
    begins. With `carry_state`, batches are those of `create_window_loader(in_order=True)`.

    Raises ValueError for unknown and invalid options; MismatchError for files in `save_dir` of
    other data or settings, unless `restart`; LockedError if another process trains there;
    DataError, before training begins, for data that this model cannot be trained on; and
    DivergedError, which names the data, for a loss that is not finite; CheckpointError for an
    `initial` that is not of such a model. All are ValueError.
    """
    config = TrainConfig.of(config)
    check_batches(dataloader, model)  # before anything is written
    check_batches(validation, model)
    directory, name = Path(config.save_dir), model.name
    record = _record(model, config, dataloader, validation, initial)
    if initial is not None:
        take_weights(model, initial)
    fresh = not config.resume
    with training_run(
        directory, name, record, config.epochs, config.restart, fresh, config
    ) as last:
        seed_everything(config.seed)
        loop = MemoryLoop(model, config)
        best_loss, epochs = fit(
            loop,
            (dataloader, validation),
            directory,
            name,
            epochs=config.epochs,
            clip=config.clip,
            resume_from=last,
            device=config.device,
            mixed_precision=config.mixed_precision,
            patience=config.early_stopping_patience,
            callbacks=callbacks,
            places=config,
        )
        model.eval()
        path = directory / f"{name}_best.pth"
        save_memory(model, path)
    return TrainResult(path, best_loss, epochs)


def _record(
    model: WorldModel,
    config: TrainConfig,
    train: Batches,
    validation: Batches | None,
    initial: str | Path | None,
) -> Record:
    settings = describe(config)
    budget = {name: settings.pop(name) for name in ("epochs", "early_stopping_patience")}
    settings["model"] = describe(model.config)
    data = {"train": batches_digest(train), "validation": batches_digest(validation)}
    if initial is not None:
        data["initial"] = {"sha256": file_hash(Path(initial))}
    return Record(f"M ({model.name})", settings, budget, data)
