"""Public interface to M's data: encoding frames, windows of episodes, loaders, checks."""

from dreamserve_training.data.encoding import (
    FramesToLatentConverter,
    PreprocessReport,
    preprocess_trajectories,
)
from dreamserve_training.data.episodes import DataError
from dreamserve_training.data.loaders import create_window_loader as create_mdnrnn_dataloader
from dreamserve_training.data.loaders import pack_collate, pad_collate
from dreamserve_training.data.report import DatasetReport, validate_dataset
from dreamserve_training.data.windows import TrajectoryDataset

__all__ = [
    "DataError",
    "DatasetReport",
    "FramesToLatentConverter",
    "PreprocessReport",
    "TrajectoryDataset",
    "create_mdnrnn_dataloader",
    "pack_collate",
    "pad_collate",
    "preprocess_trajectories",
    "validate_dataset",
]
