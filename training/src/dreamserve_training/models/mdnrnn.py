"""M under one name: the model, its loss, its sampling, its training and its dreams.

A face for users; no module of this package imports it. Names from the rooms above `models` are
looked up when they are asked for, so that a model alone never loads a trainer.
"""

from importlib import import_module
from typing import Any

from dreamserve_training.models.mixture import Mixture, mdn_loss_function, sample_from_mdn
from dreamserve_training.models.recurrent import MDNRNN, MDNRNNOutput, load_mdnrnn, save_mdnrnn

_ABOVE = {
    "SequenceDataset": "dreamserve_training.data.sequences",
    "rollout_in_dream": "dreamserve_training.dreams.model_rollout",
    "train_mdnrnn": "dreamserve_training.train.memory",
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
    return getattr(import_module(_ABOVE[name]), name)
