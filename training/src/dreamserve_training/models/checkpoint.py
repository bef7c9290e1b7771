"""Checkpoints: a model's constructor arguments and weights, without pickled code."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from dreamserve_training.files import atomic_write

Model = TypeVar("Model", bound=nn.Module)


class CheckpointError(ValueError):
    """A checkpoint cannot be loaded; the message names the file and gives the reason."""


def save_model(model: nn.Module, path: str | Path, **fields: str) -> None:
    """Write the model's weights and `config`, and further `fields`, to `path`, atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    content = io.BytesIO()  # torch aborts the process if a file's write fails
    torch.save({**fields, "config": model.config, "state_dict": weights}, content)
    with atomic_write(path) as file:
        file.write(content.getbuffer())


def load_model(path: str | Path, role: str, kind: Callable[[dict[str, Any]], type[Model]]) -> Model:
    """Return the model in evaluation mode; `kind` maps the file's content to the model's class.

    Raises CheckpointError for a missing or invalid file; `role` (V or M) is for its message.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        model = kind(content)(**content["config"])
        model.load_state_dict(content["state_dict"])
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.PickleError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of {role} ({error})") from error
    return model.eval()
