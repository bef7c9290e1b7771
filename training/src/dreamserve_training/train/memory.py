"""Train M by teacher forcing: the real z_t goes in at every step, z_{t+1} is to be predicted.

dreamserve-train mdnrnn takecover --out runs/takecover
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor
from torch.nn import functional

from dreamserve_training.data.sequences import Item
from dreamserve_training.models.mixture import mdn_loss_function
from dreamserve_training.models.recurrent import MDNRNN, save_mdnrnn
from dreamserve_training.train.trainer import last_checkpoint, make_trainer, seed_everything

Batches = Iterable[Item]


@dataclass(frozen=True)
class TrainConfig:
    """How M learns."""

    lr: float = 1e-3
    epochs: int = 20
    device: str = "auto"  # cpu, cuda, or the best there is
    save_dir: str = "checkpoints"
    clip: float = 1.0  # of the gradient's norm
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    early_stopping_patience: int | None = None  # epochs without a better val_loss
    reward_weight: float = 1.0
    done_weight: float = 1.0
    done_pos_weight: float = 10.0  # the paper's own code: ends are rare
    mixed_precision: bool = True  # bfloat16 where it is safe; the likelihood stays in float32
    resume: bool = True  # go on from save_dir/mdnrnn_last.ckpt if there is one
    seed: int = 0

    @classmethod
    def of(cls, config: "TrainConfig | Mapping[str, Any]") -> "TrainConfig":
        """Return `config` as a TrainConfig; ValueError names an unknown option."""
        if isinstance(config, cls):
            return config
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(config) - known)
        if unknown:
            raise ValueError(f"unknown training options {unknown}; known are {sorted(known)}")
        return cls(**config)


@dataclass(frozen=True)
class TrainResult:
    """What training left behind."""

    path: Path  # the best model
    best_loss: float
    epochs: int


class MDNRNNLoop(lightning.LightningModule):
    """The losses of M: mixture NLL per dimension, reward MSE, weighted done cross-entropy."""

    def __init__(self, model: MDNRNN, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def losses(self, batch: Item) -> dict[str, Tensor]:
        """Return the parts and their weighted sum, `loss`, of a batch of items."""
        output = self.model(batch["z"], batch["actions"])
        parts = {"nll": mdn_loss_function(output.mixture, batch["next_z"], batch["next_mask"])}
        total = parts["nll"]
        if output.reward is not None:
            error = (output.reward.float() - batch["rewards"]).square()
            parts["reward"] = _masked_mean(error, batch["mask"])
            total = total + self.config.reward_weight * parts["reward"]
        if output.done_logit is not None:
            weight = torch.tensor(self.config.done_pos_weight, device=self.device)
            error = functional.binary_cross_entropy_with_logits(
                output.done_logit.float(), batch["done"], pos_weight=weight, reduction="none"
            )
            parts["done"] = _masked_mean(error, batch["mask"])
            total = total + self.config.done_weight * parts["done"]
        return {"loss": total, **parts}

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

    def on_train_batch_start(self, *_: Any) -> None:
        """Seed by step, so that a resumed run draws the numbers that an unbroken one draws."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # Lightning's own union type
        """Adam, and the schedule asked for, stepped once an epoch."""
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


def train_mdnrnn(
    model: MDNRNN,
    dataloader: Batches,
    config: TrainConfig | Mapping[str, Any],
    validation: Batches | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> TrainResult:
    """Train `model` in place and leave the best one in `save_dir`/mdnrnn_best.pth.

    The best is the epoch of lowest `val_loss`, or `train_loss` without `validation`; `model` holds
    it on return. Stopped and called again with the same arguments, it goes on after the last whole
    epoch and ends with the same weights as an unbroken run. Raises ValueError for unknown options,
    and for a loss that is no longer finite.
    """
    config = TrainConfig.of(config)
    directory = Path(config.save_dir)
    seed_everything(config.seed)
    monitor = "val_loss" if validation is not None else "train_loss"
    stopping: tuple[Callback, ...] = ()
    if config.early_stopping_patience is not None:
        stopping = (EarlyStopping(monitor, patience=config.early_stopping_patience),)
    trainer = make_trainer(
        directory,
        "mdnrnn",
        max_epochs=config.epochs,
        clip=config.clip,
        monitor=monitor,
        device=config.device,
        mixed_precision=config.mixed_precision,
        callbacks=(*stopping, *callbacks),
    )
    resume_from = last_checkpoint(directory, "mdnrnn") if config.resume else None
    loop = MDNRNNLoop(model, config)
    trainer.fit(loop, dataloader, validation, ckpt_path=resume_from, weights_only=True)
    checkpoints = trainer.checkpoint_callback
    best = torch.load(checkpoints.best_model_path, map_location="cpu", weights_only=True)
    loop.load_state_dict(best["state_dict"])
    model.eval()
    path = directory / "mdnrnn_best.pth"
    save_mdnrnn(model, path)
    return TrainResult(path, float(checkpoints.best_model_score), trainer.current_epoch)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def _monitored(trainer: lightning.Trainer) -> str:
    return "val_loss" if trainer.val_dataloaders is not None else "train_loss"
