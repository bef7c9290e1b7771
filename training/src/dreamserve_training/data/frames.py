"""Sample frames of raw episodes into one array on disk, for training the VAE.

The array is shuffled once, so every slice of it is a random sample.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dreamserve.frames import crop_and_resize
from dreamserve_training.data.checks import check_frame_form, load_frames
from dreamserve_training.data.digests import Digest, file_hash
from dreamserve_training.data.episodes import DataError, read_headers
from dreamserve_training.data.loaders import PassSampler, SequenceLoader
from dreamserve_training.files import atomic_write

T = TypeVar("T")
Crop = tuple[int, int, int, int]  # top, bottom, left, right in pixels; bottom, right exclusive


def sample_frames(
    episodes: list[Path],
    out: Path,
    count: int,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    crop: Crop | None = None,
    size: tuple[int, int] | None = None,
) -> None:
    """Write about `count` frames (N, H, W, C) uint8, equally many per episode, to `out` (.npy).

    With `crop` (top, bottom, left, right) or `size` (height, width) frames are cropped and resized,
    as `FramesToLatentConverter` does with the same crop for a V of that size. An all-zero last
    frame of another project's file is a terminal observation and is left out. Raises DataError,
    before any frame is read, for episodes whose frames differ in shape or are no pictures, and for
    a crop outside them.
    """
    height, width = common_frame_shape(episodes)[:2]
    crop = crop or (0, height, 0, width)
    check_crop(crop, (height, width), episodes[0])
    size = size or (crop[1] - crop[0], crop[3] - crop[2])
    rng = np.random.default_rng(seed)
    per_episode = -(-count // len(episodes))
    samples = []
    for done, path in enumerate(episodes, 1):
        frames = load_frames(path)
        index = rng.permutation(len(frames))[:per_episode]
        samples.append(resized(frames[np.sort(index)], crop, size))
        progress(done, len(episodes))
    sample = np.concatenate(samples)
    with atomic_write(out) as file:
        np.save(file, sample[rng.permutation(len(sample))])


def common_frame_shape(episodes: list[Path]) -> tuple[int, int, int]:
    """Return (H, W, C) of the frames of all `episodes`; DataError names the first that differs."""
    if not episodes:
        raise DataError("no episodes to sample frames from")
    first: tuple[int, ...] | None = None
    for path in episodes:
        header = read_headers(path).get("frames")
        if header is None:
            raise DataError(f"{path}: lacks frames")
        check_frame_form(header.shape, header.dtype, path)
        first = first or header.shape[1:]
        if header.shape[1:] != first:
            shown = f"frames are {header.shape[1:]}, but {first} in {episodes[0].name}"
            raise DataError(f"{path}: {shown}; all frames must have one size")
    height, width, channels = first or (0, 0, 0)
    return height, width, channels


def check_crop(crop: Crop, shape: tuple[int, int], where: object) -> None:
    """Raise DataError if `crop` (top, bottom, left, right) is not inside frames of `shape`."""
    top, bottom, left, right = crop
    if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
        raise DataError(f"{where}: crop {crop} is not inside frames of {shape}")


def resized(frames: npt.NDArray[Any], crop: Crop, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return `frames` (T, H, W, C) uint8 cropped to `crop` and averaged down to `size`."""
    if crop == (0, size[0], 0, size[1]) and frames.shape[1:3] == size:
        return frames
    return np.stack([crop_and_resize(frame, crop, size) for frame in frames])


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


def _identity(batch: T) -> T:
    return batch
