"""Public interface to the MDN-RNN: the model, its loss, sampling, training and rollouts.

No module of this package imports it. Names from `data`, `dreams` and `train` are imported on first
access, so that importing the model does not import the trainer.
"""

from importlib import import_module
from typing import Any

from dreamserve_training.models.catalog import load_memory as load_mdnrnn
from dreamserve_training.models.catalog import save_memory as save_mdnrnn
from dreamserve_training.models.lstm import MDNRNN
from dreamserve_training.models.mixture import Mixture, mdn_loss_function, sample_from_mdn
from dreamserve_training.models.world_model import Prediction as MDNRNNOutput

_LAZY = {
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
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)
