"""M under one roof: the model, its loss, its sampling, its training and its dreams."""

from dreamserve_training.data.sequences import SequenceDataset
from dreamserve_training.loops.mdnrnn import train_mdnrnn
from dreamserve_training.models.mixture import Mixture, mdn_loss_function, sample_from_mdn
from dreamserve_training.models.recurrent import MDNRNN, MDNRNNOutput, load_mdnrnn, save_mdnrnn
from dreamserve_training.tools.in_dream import rollout_in_dream

__all__ = [
    "MDNRNN",
    "MDNRNNOutput",
    "Mixture",
    "SequenceDataset",
    "load_mdnrnn",
    "mdn_loss_function",
    "rollout_in_dream",
    "sample_from_mdn",
    "save_mdnrnn",
    "train_mdnrnn",
]
