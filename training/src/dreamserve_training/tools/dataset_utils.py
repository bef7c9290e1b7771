"""Data for M under one roof: encoding frames, windows over episodes, loaders, checks."""

from dreamserve_training.data.episodes import DataError
from dreamserve_training.tools.checking import DatasetReport, validate_dataset
from dreamserve_training.tools.encoding import (
    FramesToLatentConverter,
    PreprocessReport,
    preprocess_trajectories,
)
from dreamserve_training.tools.loading import (
    create_mdnrnn_dataloader,
    pack_collate,
    pad_collate,
)
from dreamserve_training.tools.trajectories import TrajectoryDataset

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
