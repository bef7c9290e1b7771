"""Pictures for the card: reconstructions, and a real episode with dreams of it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dreamserve.backends.base import Array, Backend
from dreamserve.manifest import WorldSpec
from dreamserve_training.evaluation.open_loop import open_loop
from dreamserve_training.evaluation.reconstruction import Tally, compare, reconstruct
from dreamserve_training.evaluation.teacher_forcing import LatentEpisode, teacher_force
from dreamserve_training.export.card import Picture

SCALE = 2  # screen pixels per pixel of a frame
STRIP_STEPS = (0, 5, 10, 15, 20, 30, 40, 50)
_MARGIN_PX, _LABEL_PX = 4, 14
UInt8 = npt.NDArray[np.uint8]


def reconstruction_picture(backend: Backend, frames: UInt8, count: int = 8) -> Picture:
    """Return a picture of `count` of `frames` (N, H, W, C) uint8 above their reconstructions.

    They are spread evenly over the frames with small salient regions, or over all frames if fewer
    than `count` have any.
    """
    mean = frames.mean(axis=0, dtype=np.float64).astype(np.float32) / 255
    salient = [i for i, frame in enumerate(frames) if _small_regions(frame, mean)]
    candidates = salient if len(salient) >= count else list(range(len(frames)))
    spread = np.linspace(0, len(candidates) - 1, min(count, len(candidates))).astype(int)
    chosen = frames[[candidates[i] for i in spread]]
    copies = to_uint8(reconstruct(backend, chosen))
    return Picture(
        grid([("original", chosen), ("reconstruction", copies)]),
        "Held-out frames, and below them V's reconstructions.",
    )


def dream_picture(
    backend: Backend,
    spec: WorldSpec,
    frames: UInt8,
    episode: LatentEpisode,
    start: int,
    seed: int = 0,
) -> Picture:
    """Return a picture of a real episode from step `start` on, above dreams of the same actions.

    `frames` (T, H, W, C) uint8 and `episode` are the same episode; M's state is computed from the
    steps before `start` > 0. Raises ValueError if the episode ends within the strip.
    """
    if start < 1 or start + STRIP_STEPS[-1] >= len(frames):
        raise ValueError(f"{len(frames)} steps are too few for a strip from step {start}")
    run = teacher_force(backend, spec, [episode], keep_every=start)[0]
    state = tuple(part[None] for part in run.states[start])
    actions = run.episode.actions[None, start : start + STRIP_STEPS[-1]]
    rows = [("real", frames[[start + step for step in STRIP_STEPS]])]
    for temperature in (1.0, 0.0):
        rng = np.random.default_rng(seed)
        first = episode.mu[start : start + 1]
        dreamed = open_loop(backend, spec, first, state, actions, temperature, rng)[0]
        latents = np.concatenate([first, dreamed])[list(STRIP_STEPS)]
        pictures = to_uint8(backend.decode(latents))
        rows.append((f"dream, T = {temperature:g}", pictures))
    columns = [f"step {step}" for step in STRIP_STEPS]
    return Picture(
        grid(rows, columns),
        "A real held-out episode, and below it dreams that start at the same frame and take the"
        " same actions, without seeing later frames.",
    )


def busiest_start(frames: UInt8, earliest: int = 16) -> int:
    """Return the step with the most small regions, from `earliest` to the last fit for a strip."""
    mean = frames.mean(axis=0, dtype=np.float64).astype(np.float32) / 255
    latest = len(frames) - STRIP_STEPS[-1] - 1
    if latest < earliest:
        raise ValueError(f"the episode has {len(frames)} steps, too few for a strip")
    return max(range(earliest, latest + 1), key=lambda at: _small_regions(frames[at], mean))


def grid(rows: Sequence[tuple[str, UInt8]], columns: Sequence[str] = ()) -> Image.Image:
    """Return one image of named rows of pictures (N, H, W, C) uint8, with titles of columns."""
    height, width = rows[0][1].shape[1] * SCALE, rows[0][1].shape[2] * SCALE
    head = _LABEL_PX if columns else 0
    row_px = height + _LABEL_PX + _MARGIN_PX
    across = max(len(pictures) for _, pictures in rows)
    size = (_MARGIN_PX + across * (width + _MARGIN_PX), head + len(rows) * row_px)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        draw.text((_MARGIN_PX + column * (width + _MARGIN_PX), 1), title, "gray")
    for row, (name, pictures) in enumerate(rows):
        top = head + row * row_px
        draw.text((_MARGIN_PX, top + 1), name, "black")
        for column, picture in enumerate(pictures):
            image = Image.fromarray(as_shown(picture)).resize(
                (width, height), Image.Resampling.NEAREST
            )
            sheet.paste(image, (_MARGIN_PX + column * (width + _MARGIN_PX), top + _LABEL_PX))
    return sheet


def as_shown(frame: UInt8) -> UInt8:
    """Return `frame` (H, W, C) as a picture that can be shown: RGB, or gray (H, W).

    Of two or four channels, which are a stack, it is the last, which is usually the newest.
    """
    return frame if frame.shape[2] == 3 else frame[..., -1]


def to_uint8(pictures: Array) -> UInt8:
    """Return pictures in [0, 1] as uint8, rounded."""
    return (np.clip(pictures, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)


def _small_regions(frame: UInt8, mean: Array) -> int:
    picture, tally = frame.astype(np.float32) / np.float32(255), Tally()
    compare(picture, picture, mean, tally)
    return sum(1 for area in tally.areas if area < 25)
