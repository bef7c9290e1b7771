"""M under one name: the model, its loss, its sampling, its training and its dreams.

A face for users; no module of this package imports it. Names from the rooms above `models` are
looked up when they are asked for, so that a model alone never loads a trainer.
"""

from importlib import import_module
from typing import Any

from dreamserve_training.models.catalog import load_memory as load_mdnrnn
from dreamserve_training.models.catalog import save_memory as save_mdnrnn
from dreamserve_training.models.lstm import MDNRNN
from dreamserve_training.models.mixture import Mixture, mdn_loss_function, sample_from_mdn
from dreamserve_training.models.world_model import Prediction as MDNRNNOutput

_ABOVE = {
    "SequenceDataset": ("dreamserve_training.data.sequences", "SequenceDataset"),
    "rollout_in_dream": ("dreamserve_training.dreams.model_rollout", "rollout_in_dream"),
    "train_mdnrnn": ("dreamserve_training.train.memory", "train_memory"),
}

__all__ = [
    "MDNRNN",
    "MDNRNNOutput",
    "Mixture",
    "load_mdnrnn",
    "mdn_loss_function",
    "sample_from_mdn",
    "save_mdnrnn",
    *_ABOVE,
]


def __getattr__(name: str) -> Any:
    if name not in _ABOVE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _ABOVE[name]
    return getattr(import_module(module), attribute)
