"""Train M by teacher forcing: each step takes the real z_t and predicts z_{t+1}.

dreamserve-train memory takecover --out runs/takecover
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor

from dreamserve_training.data.loaders import check_batches
from dreamserve_training.data.sequences import Item
from dreamserve_training.models.catalog import save_memory
from dreamserve_training.models.world_model import LossWeights, WorldModel
from dreamserve_training.train.trainer import (
    SeededModule,
    last_checkpoint,
    make_trainer,
    seed_everything,
)

Batches = Iterable[Item]


@dataclass(frozen=True)
class TrainConfig:
    """Options of M's training."""

    lr: float = 1e-3
    epochs: int = 20
    device: str = "auto"  # auto (the best available), cpu or cuda
    save_dir: str = "checkpoints"
    clip: float = 1.0  # maximum norm of the gradient
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    early_stopping_patience: int | None = None  # epochs without a better loss; None: never stop
    reward_weight: float = 1.0
    done_weight: float = 1.0
    done_pos_weight: float = 10.0  # as in the paper's code, because ends are rare
    mixed_precision: bool = True  # bfloat16 autocast; losses stay in float32
    resume: bool = True  # from save_dir/MODEL_last.ckpt, if it exists
    seed: int = 0

    @property
    def weights(self) -> LossWeights:
        """The weights of the loss terms."""
        return LossWeights(self.reward_weight, self.done_weight, self.done_pos_weight)

    @classmethod
    def of(cls, config: "TrainConfig | Mapping[str, Any]") -> "TrainConfig":
        """Return `config` as a TrainConfig. Unknown options raise ValueError, which names them."""
        if isinstance(config, cls):
            return config
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(config) - known)
        if unknown:
            raise ValueError(f"unknown training options {unknown}; known options: {sorted(known)}")
        return cls(**config)


@dataclass(frozen=True)
class TrainResult:
    """The result of `train_memory`."""

    path: Path  # of the best model
    best_loss: float
    epochs: int


class MemoryLoop(SeededModule):
    """The Lightning module of M, trained on the model's own losses."""

    def __init__(self, model: WorldModel, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def losses(self, batch: Item) -> dict[str, Tensor]:
        """Return the loss terms of a batch by name, and their weighted sum `loss`."""
        return self.model.losses(batch, self.config.weights)

    def training_step(self, batch: Item, _: int) -> Tensor:
        """Return the loss of a batch."""
        return self._logged(batch, "train")["loss"]

    def validation_step(self, batch: Item, _: int) -> None:
        """Log the losses of held-out sequences."""
        self._logged(batch, "val")

    def _logged(self, batch: Item, phase: str) -> dict[str, Tensor]:
        losses = self.losses(batch)
        named = {f"{phase}_{name}": value.detach() for name, value in losses.items()}
        steps = int(batch["mask"].sum())
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=steps)
        return losses

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # Lightning's own union type
        """Return Adam with the configured schedule, stepped once per epoch."""
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.config.lr)
        if self.config.schedule == "constant":
            return optimizer
        if self.config.schedule == "cosine":
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, self.config.epochs, eta_min=self.config.lr / 50
            )
            return [optimizer], [schedule]
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
        return [optimizer], [{"scheduler": plateau, "monitor": _monitored(self.trainer)}]


def train_memory(
    model: WorldModel,
    dataloader: Batches,
    config: TrainConfig | Mapping[str, Any],
    validation: Batches | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> TrainResult:
    """Train `model` in place and write its best weights to `save_dir`/MODEL_best.pth.

    MODEL is the model's name. The best epoch has the lowest `val_loss`, or `train_loss` without
    `validation`; on return `model` has its weights. After an interruption, the same call resumes
    after the last complete epoch and gives the same weights as an uninterrupted run. Raises
    ValueError for unknown options and for a loss that is not finite, and DataError, before training
    begins, for data that this model cannot be trained on.
    """
    config = TrainConfig.of(config)
    check_batches(dataloader, model)
    check_batches(validation, model)
    directory = Path(config.save_dir)
    seed_everything(config.seed)
    monitor = "val_loss" if validation is not None else "train_loss"
    stopping: tuple[Callback, ...] = ()
    if config.early_stopping_patience is not None:
        stopping = (EarlyStopping(monitor, patience=config.early_stopping_patience),)
    trainer = make_trainer(
        directory,
        model.name,
        max_epochs=config.epochs,
        clip=config.clip,
        monitor=monitor,
        device=config.device,
        mixed_precision=config.mixed_precision,
        callbacks=(*stopping, *callbacks),
    )
    resume_from = last_checkpoint(directory, model.name) if config.resume else None
    loop = MemoryLoop(model, config)
    trainer.fit(loop, dataloader, validation, ckpt_path=resume_from, weights_only=True)
    checkpoints = trainer.checkpoint_callback
    best = torch.load(checkpoints.best_model_path, map_location="cpu", weights_only=True)
    loop.load_state_dict(best["state_dict"])
    model.eval()
    path = directory / f"{model.name}_best.pth"
    save_memory(model, path)
    return TrainResult(path, float(checkpoints.best_model_score), trainer.current_epoch)


def _monitored(trainer: lightning.Trainer) -> str:
    return "val_loss" if trainer.val_dataloaders is not None else "train_loss"
