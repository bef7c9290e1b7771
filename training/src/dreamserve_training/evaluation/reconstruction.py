"""How well V reconstructs frames, and in particular small salient regions.

A *salient region* is a connected set (8 neighbours) of pixels in which some channel differs from
the average picture by more than CONTRAST. In TakeCover, at 64 x 64, these are the fireballs: they
exceed 0.4; imps (0.35) and walls (0.25) do not. Those that are far away are a single pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dreamserve.backends.base import Array, Backend
from dreamserve_training.data.checks import load_frames
from dreamserve_training.data.episodes import Folders, episode_paths

CONTRAST = 0.4  # of the value range
BANDS_PX = {
    "1 px": (1, 2),
    "2 to 5 px": (2, 6),
    "6 to 24 px": (6, 25),
    "25 px and more": (25, 1 << 30),
}
KEPT = 0.5  # share of a region's contrast that a reconstruction must keep
_BATCH = 256
_NEIGHBOURS = np.ones((3, 3), np.int64)
UInt8 = npt.NDArray[np.uint8]


@dataclass
class Tally:
    """Areas of salient regions in pixels, and whether each region was kept."""

    areas: list[float] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)

    def by_band(self) -> Iterator[tuple[str, int, int]]:
        """Yield each band of areas: name, number of regions, number of kept regions."""
        areas, kept = np.array(self.areas), np.array(self.kept, np.bool_)
        for name, (low, high) in BANDS_PX.items():
            in_band = (areas >= low) & (areas < high)
            yield name, int(in_band.sum()), int(kept[in_band].sum())


def held_out_frames(directory: Folders, count: int) -> UInt8:
    """Return about `count` frames (N, H, W, C) uint8, evenly spaced over the raw episodes."""
    paths = episode_paths(directory)
    per_episode = max(1, -(-count // len(paths)))
    spread = (np.arange(per_episode) + 0.5) / per_episode
    chosen = []
    for path in paths[:count]:
        frames = load_frames(path)
        chosen.append(frames[np.unique((spread * len(frames)).astype(np.int64))])
    return np.concatenate(chosen)


def reconstruct(backend: Backend, frames: UInt8) -> Array:
    """Return the decoded posterior means, in [0, 1], of `frames` (N, H, W, C) uint8."""
    batches = range(0, len(frames), _BATCH)
    return np.concatenate([_reconstruct_batch(backend, frames[at : at + _BATCH]) for at in batches])


def reconstruction(backend: Backend, frames: UInt8) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two measurements of held-out `frames` (N, H, W, C) uint8.

    The first: `mse_per_pixel`, the mean squared error over pixels and channels in [0, 1], and that
    of the average picture. The second, for each band of areas: the number of salient regions in
    the frames and the share `recalled`, whose reconstruction keeps at least half of the contrast
    (see `compare`); the number of salient regions in the reconstructions and the share `invented`,
    which the originals do not keep.
    """
    mean = frames.mean(axis=0, dtype=np.float64).astype(np.float32) / 255
    in_frames, in_copies = Tally(), Tally()
    error = baseline = 0.0
    for at in range(0, len(frames), _BATCH):
        part = frames[at : at + _BATCH]
        originals, copies = part.astype(np.float32) / 255, _reconstruct_batch(backend, part)
        error += float(np.square(copies - originals, dtype=np.float64).sum())
        baseline += float(np.square(mean - originals, dtype=np.float64).sum())
        for original, copy in zip(originals, copies, strict=True):
            compare(original, copy, mean, in_frames)
            compare(copy, original, mean, in_copies)
    pixels = {
        "mse_per_pixel": round(error / frames.size, 7),
        "mse_of_the_average_picture": round(baseline / frames.size, 7),
        "frames": len(frames),
    }
    return pixels, _salience(in_frames, in_copies)


def _salience(in_frames: Tally, in_copies: Tally) -> dict[str, Any]:
    bands = {}
    for (name, originals, recalled), (_, copies, real) in zip(
        in_frames.by_band(), in_copies.by_band(), strict=True
    ):
        bands[name] = {
            "in_frames": originals,
            "recalled": round(recalled / originals, 4) if originals else None,
            "in_reconstructions": copies,
            "invented": round(1 - real / copies, 4) if copies else None,
        }
    return bands


def compare(picture: Array, copy: Array, mean: Array, tally: Tally) -> None:
    """Add to `tally` the area of every salient region of `picture`, and whether `copy` keeps it.

    The three pictures are (H, W, C) in [0, 1]. A region is kept if, over its pixels and channels,
    Σ (copy - mean)(picture - mean) ≥ KEPT · Σ (picture - mean)².
    """
    difference = picture - mean
    labels, count = ndimage.label(np.abs(difference).max(axis=-1) > CONTRAST, _NEIGHBOURS)
    if not count:
        return
    index = np.arange(1, count + 1)
    area = ndimage.sum_labels(np.ones_like(labels), labels, index)
    contrast = ndimage.sum_labels((difference**2).sum(-1), labels, index)
    shared = ndimage.sum_labels(((copy - mean) * difference).sum(-1), labels, index)
    tally.areas.extend(area.tolist())
    tally.kept.extend((shared >= KEPT * contrast).tolist())


def _reconstruct_batch(backend: Backend, frames: UInt8) -> Array:
    mu, _ = backend.encode(np.ascontiguousarray(frames, np.float32) / np.float32(255))
    return backend.decode(mu)
