"""A model on disk: its constructor's arguments and its weights, never pickled code."""

import pickle
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from dreamserve_training.files import atomic_write

Model = TypeVar("Model", bound=nn.Module)


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded; the message says which file and why."""


def save_model(model: nn.Module, config: dict[str, Any], path: str | Path) -> None:
    """Write `model` to `path`, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    with atomic_write(path) as file:
        torch.save({"config": config, "state_dict": weights}, file)


def load_model(kind: type[Model], path: str | Path) -> Model:
    """Return the model in evaluation mode; CheckpointError says what is wrong with the file."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        model = kind(**content["config"])
        model.load_state_dict(content["state_dict"])
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.PickleError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of {kind.__name__} ({error})") from error
    return model.eval()
