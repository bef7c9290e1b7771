"""Fit V to vectors: the mean and the scale of each number."""

from pathlib import Path

import numpy as np
import torch

from dreamserve_training.data.episodes import load_episode
from dreamserve_training.models.catalog import save_vision
from dreamserve_training.models.vectors import VectorScale

MAX_EPISODES = 2000  # that are read; more would not change the scale


def fit_scale(episodes: list[Path], out: Path) -> Path:
    """Write the VectorScale of the `vectors` of raw episodes to `out`, and return `out`.

    Raises DataError for an episode that cannot be read, ValueError for vectors too large to store.
    """
    read = [load_episode(path, ("vectors",))["vectors"] for path in episodes[:MAX_EPISODES]]
    vectors = torch.from_numpy(np.concatenate(read).astype(np.float32))
    save_vision(VectorScale.fitted(vectors), out)
    return out
