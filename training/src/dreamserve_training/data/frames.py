"""Sample frames of raw episodes into one array on disk, for training the VAE.

The array is shuffled once, so every slice of it is a random sample.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dreamserve_training.data.digests import Digest, file_hash
from dreamserve_training.data.episodes import DataError, load_episode
from dreamserve_training.data.loaders import PassSampler, SequenceLoader
from dreamserve_training.files import atomic_write


def sample_frames(
    episodes: list[Path],
    out: Path,
    count: int,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write about `count` frames (N, H, W, C) uint8, equally many per episode, to `out` (.npy).

    Raises DataError for an all-zero frame, which is a terminal observation and not a picture.
    """
    rng = np.random.default_rng(seed)
    per_episode = -(-count // len(episodes))
    samples = []
    for done, path in enumerate(episodes, 1):
        frames = load_episode(path, ("frames",))["frames"]
        index = rng.permutation(len(frames))[:per_episode]
        picked = frames[np.sort(index)]
        if not picked.reshape(len(picked), -1).any(axis=1).all():
            raise DataError(f"{path}: holds an all-zero frame (a terminal observation?)")
        samples.append(picked)
        progress(done, len(episodes))
    sample = np.concatenate(samples)
    with atomic_write(out) as file:
        np.save(file, sample[rng.permutation(len(sample))])


class FrameDataset(Dataset[Tensor]):
    """Frames (H, W, C) uint8 of a memory-mapped array, fetched a batch at a time."""

    def __init__(self, path: Path, limit: int | None = None) -> None:
        self.path = path
        self.frames: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")[:limit]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitems__(self, indices: list[int]) -> Tensor:
        return torch.from_numpy(self.frames[self._rows(indices)])

    def places(self, indices: list[int]) -> list[str]:
        """Return where each row of the batch of `indices` comes from."""
        return [f"{self.path.name}, frame {row}" for row in self._rows(indices)]

    def digest(self) -> Digest:
        """Return what identifies the frames."""
        return {"frames": len(self.frames), "sha256": file_hash(self.path)}

    def _rows(self, indices: list[int]) -> npt.NDArray[np.int64]:
        # indices from len(self) on are the same frames in later epochs
        return np.sort(np.asarray(indices) % len(self.frames))


def frame_loader(
    dataset: FrameDataset, batch_size: int, shuffle: bool, seed: int = 0
) -> DataLoader[Tensor]:
    """Return a loader of batches (B, H, W, C) uint8; with `shuffle`, of full batches only.

    Batches depend on `seed` and the epoch only.
    """
    return SequenceLoader(
        dataset,
        batch_size=batch_size,
        sampler=PassSampler(len(dataset), shuffle, seed),
        drop_last=shuffle,
        collate_fn=_identity,
    )


def _identity(batch: Tensor) -> Tensor:
    return batch
