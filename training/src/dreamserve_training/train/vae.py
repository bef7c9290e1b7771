"""Train V on a sample of frames.

dreamserve-train vae takecover --out runs/takecover
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreamserve_training.data.frames import FrameDataset, frame_loader
from dreamserve_training.models.vae import ConvVAE, save_vae, vae_loss
from dreamserve_training.train.trainer import (
    SeededModule,
    last_checkpoint,
    make_trainer,
    seed_everything,
)


@dataclass(frozen=True)
class VAEConfig:
    """V's latent size and the options of its training."""

    z_dim: int = 64
    frames: int = 120_000
    validation_frames: int = 4_000
    epochs: int = 10
    batch_size: int = 128
    lr: float = 1.5e-3
    clip: float = 50.0  # maximum gradient norm; large, because the loss sums 12,288 values
    reconstruction_scale: float = 5.0
    salience: float = 8.0  # extra weight of pixels that differ from the mean image
    free_nats_per_dim: float = 0.5
    seed: int = 0


class VAELoop(SeededModule):
    """The Lightning module of V: squared error, weighted per pixel, plus KL with free nats.

    Pixels that differ from the mean image have a larger weight. A distant fireball is only a few
    such pixels: without the weight, V would ignore it, and dreams would have nothing to dodge.
    """

    def __init__(self, vae: ConvVAE, mean_image: Tensor, config: VAEConfig, steps: int) -> None:
        super().__init__()
        self.vae = vae.to(memory_format=torch.channels_last)
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

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        """Return the loss of a batch."""
        error, kl = self.losses(batch)
        return error + kl

    def validation_step(self, batch: Tensor, _: int) -> None:
        """Log the losses of held-out frames."""
        error, kl = self.losses(batch)
        self.log_dict({"val_loss": error + kl, "val_reconstruction": error, "val_kl": kl})

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # Lightning's own union type
        """Return Adam with a one-cycle schedule, which suits few epochs."""
        optimizer = torch.optim.Adam(self.vae.parameters(), lr=self.config.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.config.lr, total_steps=max(self.steps, 20), pct_start=0.1
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def train_vae(
    train_frames: Path,
    validation_frames: Path,
    directory: Path,
    config: VAEConfig,
    device: str = "auto",
) -> Path:
    """Train V, or resume; return the path of `vae_best.pth`. ValueError for too few frames."""
    seed_everything(config.seed)
    train = FrameDataset(train_frames)
    validation = FrameDataset(validation_frames, config.validation_frames)
    if len(train) < config.batch_size:
        raise ValueError(f"{len(train)} frames are too few for a batch of {config.batch_size}")
    mean_image = torch.from_numpy(train.frames[:4096].mean(axis=0, dtype=np.float32) / 255)
    loader = frame_loader(train, config.batch_size, shuffle=True)
    loop = VAELoop(ConvVAE(config.z_dim), mean_image, config, config.epochs * len(loader))
    trainer = make_trainer(
        directory,
        "vae",
        max_epochs=config.epochs,
        clip=config.clip,
        monitor="val_loss",
        device=device,
    )
    trainer.fit(
        loop,
        loader,
        frame_loader(validation, 256, shuffle=False),
        ckpt_path=last_checkpoint(directory, "vae"),
        weights_only=True,
    )
    path = directory / "vae_best.pth"
    save_vae(loop.vae, path)
    return path
