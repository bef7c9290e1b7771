"""Train a tiny M on two CPU processes.

python tests/training/two_processes.py FOLDER [stop]

FOLDER holds latent episodes in `train` and `holdout`; the model is written to FOLDER/two. Each
process appends its process id and the indices of the windows that it reads to FOLDER/read-RANK.
With `stop`, the first process gets SIGTERM when its first epoch has ended.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback

from dreamserve_training.data.loaders import create_window_loader
from dreamserve_training.models.mdnrnn import MDNRNN
from dreamserve_training.train.memory import train_memory


class Stop(Callback):
    """Sends this process SIGTERM in its second epoch."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.is_global_zero and trainer.current_epoch == 1 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def train(folder, devices, out, callbacks=()):
    """Train in `devices` processes; return the model."""
    torch.manual_seed(0)
    heads = {"predict_reward": True, "predict_done": True}
    model = MDNRNN(z_dim=4, action_dim=3, rnn_size=8, num_mixtures=2, **heads)
    loaders = [
        create_window_loader(folder / split, batch_size=4, sequence_length=8, shuffle=shuffled)
        for split, shuffled in (("train", True), ("holdout", False))
    ]
    note_what_is_read(loaders[0].dataset, folder)
    config = {
        "epochs": 3,
        "device": "cpu",
        "devices": devices,
        "mixed_precision": False,
        "save_dir": str(out),
    }
    train_memory(model, loaders[0], config, loaders[1], callbacks)
    return model


def note_what_is_read(dataset, folder):
    """Append the index of each window that is read to a file of this process."""
    path, read = folder / f"read-{os.environ.get('LOCAL_RANK', '0')}", type(dataset).__getitem__

    class Noting(type(dataset)):
        def __getitem__(self, index):
            with path.open("a") as file:
                file.write(f"{os.getpid()} {index}\n")
            return read(self, index)

    dataset.__class__ = Noting


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    train(folder, 2, folder / "two", (Stop(),) if sys.argv[2:] else ())
