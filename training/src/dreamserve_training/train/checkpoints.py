"""One file holds all of an unfinished training: its state, and the best weights so far.

It has no paths, so its directory can be moved and copied at any time.
"""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dreamserve_training.files import atomic_write
from dreamserve_training.models.checkpoint import CheckpointError


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints completely or not at all, also on a full disk."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`. OSError leaves the file that was there."""
        content = io.BytesIO()  # torch aborts the process if a file's write fails
        torch.save(checkpoint, content)
        with atomic_write(Path(path)) as file:
            file.write(content.getbuffer())


class Checkpoints(Checkpoint):
    """Writes MODEL_last.ckpt after each epoch, and keeps the weights of the lowest `monitor`.

    With `patience` training ends after so many epochs without a lower one.
    """

    def __init__(self, directory: Path, model: str, monitor: str, patience: int | None) -> None:
        self.path = last_path(directory, model)
        self.monitor, self.patience = monitor, patience
        self.best_loss, self.best_epoch = math.inf, -1
        self.best: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the best epoch."""
        return {"loss": self.best_loss, "epoch": self.best_epoch, "weights": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best epoch of an earlier run."""
        self.best_loss, self.best_epoch = state_dict["loss"], state_dict["epoch"]
        self.best = state_dict["weights"]

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Compare the epoch with the best one, and write the checkpoint."""
        loss = float(trainer.callback_metrics[self.monitor])
        if loss < self.best_loss:
            weights = module.state_dict().items()
            self.best_loss, self.best_epoch = loss, trainer.current_epoch
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in weights}
        trainer.save_checkpoint(self.path)
        if self.out_of_patience(trainer.current_epoch + 1):
            trainer.should_stop = True

    def out_of_patience(self, epochs: int) -> bool:
        """Return whether `epochs` complete epochs end the training early."""
        return self.patience is not None and epochs - 1 - self.best_epoch >= self.patience


def last_path(directory: Path, model: str) -> Path:
    """Return the path of the checkpoint of an unfinished or finished training of `model`."""
    return directory / f"{model}_last.ckpt"


def epochs_of(path: Path) -> int:
    """Return the complete epochs of a checkpoint; 0 without one, CheckpointError if broken."""
    content = read_checkpoint(path)
    return 0 if content is None else int(content["epoch"]) + 1


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the content of a checkpoint, or None without one; CheckpointError if it is broken."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not content["callbacks"]["Checkpoints"]["weights"]:
            raise ValueError("it has no best epoch")
    except FileNotFoundError:
        return None
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.PickleError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of a training ({error})") from error
    return content
