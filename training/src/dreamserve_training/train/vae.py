"""Train V on a sample of frames.

dreamserve-train vae takecover --out runs/takecover
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from dreamserve_training.data.digests import batches_digest, file_hash
from dreamserve_training.data.frames import FrameDataset, frame_loader
from dreamserve_training.models.checkpoint import CheckpointError
from dreamserve_training.models.terms import Term, joined
from dreamserve_training.models.vae import ConvVAE, load_vae, save_vae, vae_loss
from dreamserve_training.runs.options import PLACE, AboveZero, AtLeastZero, Count, Options, Whole
from dreamserve_training.runs.records import Record, describe
from dreamserve_training.train.guarded_module import GuardedModule
from dreamserve_training.train.processes import Strategy
from dreamserve_training.train.schedules import one_cycle
from dreamserve_training.train.trainer import (
    fit,
    fused_adam,
    seed_everything,
    training_run,
)


@dataclass(frozen=True)
class VAEConfig(Options):
    """V's latent size and the options of its training."""

    z_dim: Count = 64
    frames: Count = 120_000
    validation_frames: Count = 4_000
    epochs: Count = 10
    batch_size: Count = 128
    lr: AtLeastZero = 1.5e-3
    clip: AboveZero = 50.0  # maximum gradient norm; large, because the loss sums 12,288 values
    reconstruction_scale: AtLeastZero = 5.0
    salience: AtLeastZero = 8.0  # extra weight of pixels that differ from the mean image
    free_nats_per_dim: AtLeastZero = 0.5
    seed: Whole = 0
    devices: Count = field(default=1, metadata=PLACE)  # of each machine; they share the batches
    num_nodes: Count = field(default=1, metadata=PLACE)  # machines
    strategy: Strategy = field(default="auto", metadata=PLACE)  # Lightning's

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames < self.batch_size:
            raise ValueError(
                f"VAEConfig: frames {self.frames} must be at least batch_size, {self.batch_size}"
            )


class VAELoop(GuardedModule):
    """The Lightning module of V: squared error, weighted per pixel, plus KL with free nats.

    Pixels that differ from the mean image have a larger weight. A distant fireball is only a few
    such pixels: without the weight, V would ignore it, and dreams would have nothing to dodge.
    """

    mean_image: Tensor  # (H, W, C) in [0, 1]

    def __init__(self, vae: ConvVAE, mean_image: Tensor, config: VAEConfig, steps: int) -> None:
        super().__init__()
        # torch's overloads lack the argument
        self.vae = vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config = config
        self.steps = steps
        self.register_buffer("mean_image", mean_image)

    def losses(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return (reconstruction error, KL), scalars, of a batch (B, H, W, C) uint8."""
        frames = batch.float() / 255
        reconstruction, mu, logvar = self.vae(frames)
        salience = (2 * (frames - self.mean_image).abs()).clamp(max=1)
        weight = self.config.reconstruction_scale * (1 + self.config.salience * salience)
        floor = self.config.free_nats_per_dim
        return vae_loss(reconstruction.float(), frames, mu.float(), logvar.float(), weight, floor)

    def loss_of(self, batch: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""
        error, kl = self.losses(batch)
        return error + kl

    def terms(self, batch: Tensor) -> dict[str, Term]:
        """Return the loss terms of a batch by name, means over its frames."""
        error, kl = self.losses(batch)
        frames = torch.tensor(len(batch), device=error.device)
        return {
            "reconstruction": Term(error * frames, frames),
            "kl": Term(kl * frames, frames),
        }

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        alone = self.trainer.world_size == 1
        loss = self.loss_of(batch) if alone else self.shared(self.terms(batch))
        return self.finite(loss, batch, batch_idx, "train")

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Log the losses of held-out frames."""
        terms = self.terms(batch)
        self.finite(joined(terms)["loss"], batch, batch_idx, "val")
        self.log_terms("val", terms)

    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
        """Seed, and set the rate and Adam's first moment by a one-cycle schedule."""
        super().on_train_batch_start(batch, batch_idx)
        point = one_cycle(self.global_step, self.steps)
        for group in self.parameter_groups():
            group["lr"] = self.config.lr * point.factor
            group["betas"] = point.beta1, group["betas"][1]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return fused_adam(self.vae, self.config.lr)


def train_vae(
    train_frames: Path,
    validation_frames: Path,
    directory: Path,
    config: VAEConfig,
    device: str = "auto",
    restart: bool = False,
    callbacks: tuple[Callback, ...] = (),
    initial: Path | None = None,
) -> Path:
    """Train V, or go on with an interrupted training; return the path of `vae_best.pth`.

    It has the weights of the epoch with the lowest `val_loss`. `vae_run.json` beside it says what
    it was trained on. `initial` is another V's checkpoint, from whose weights training begins.
    Raises ValueError for too few frames, CheckpointError for an `initial` that is not a V of such
    sizes, MismatchError for files in `directory` of other data or settings (with `restart` they
    are removed), LockedError if another process trains there, and DivergedError for a loss that is
    not finite.
    """
    train = FrameDataset(train_frames)
    validation = FrameDataset(validation_frames, config.validation_frames)
    if len(train) < config.batch_size:
        raise ValueError(f"{len(train)} frames are too few for a batch of {config.batch_size}")
    loaders = (
        frame_loader(train, config.batch_size, shuffle=True, seed=config.seed),
        frame_loader(validation, 256, shuffle=False),
    )
    path = directory / "vae_best.pth"
    record, epochs = _record(config, loaders, initial), config.epochs
    with training_run(directory, "vae", record, epochs, restart, places=config) as last:
        seed_everything(config.seed)
        mean_image = torch.from_numpy(train.frames[:4096].mean(axis=0, dtype=np.float32) / 255)
        steps = config.epochs * len(loaders[0])
        vae = _vae_to_train(config.z_dim, train.frames.shape[1:], initial)
        loop = VAELoop(vae, mean_image, config, steps)
        fit(
            loop,
            loaders,
            directory,
            "vae",
            epochs=config.epochs,
            clip=config.clip,
            resume_from=last,
            device=device,
            callbacks=callbacks,
            places=config,
        )
        save_vae(loop.vae, path)
    return path


def _vae_to_train(z_dim: int, shape: tuple[int, ...], initial: Path | None) -> ConvVAE:
    """Return a V with random weights, or with those of `initial`. Raises CheckpointError."""
    vae = ConvVAE(z_dim, shape)
    if initial is not None:
        other = load_vae(initial)
        if other.config != vae.config:
            raise CheckpointError(f"{initial}: is a V of {other.config}, not of {vae.config}")
        vae.load_state_dict(other.state_dict())
    return vae


def _record(config: VAEConfig, loaders: tuple[Any, Any], initial: Path | None) -> Record:
    settings = describe(config)
    budget = {"epochs": settings.pop("epochs")}
    train, validation = map(batches_digest, loaders)
    data = {"train": train, "validation": validation}
    if initial is not None:
        data["initial"] = {"sha256": file_hash(initial)}
    return Record("V", settings, budget, data)
