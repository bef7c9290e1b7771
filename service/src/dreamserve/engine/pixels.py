"""Conversion of observations: of frames, uint8 outside the engine, float32 in range inside."""

from typing import Any

import numpy as np

from dreamserve.backends.base import Array
from dreamserve.frames import crop_and_resize
from dreamserve.observations import FrameSpec, ObservationSpec, VectorSpec
from dreamserve_protocol.arrays import UInt8
from dreamserve_protocol.errors import (
    InvalidRequestError,
    NotFiniteInputError,
)

Shown = UInt8 | Array  # frames, or vectors


def check_observations(spec: ObservationSpec, given: Any, where: str) -> Shown:
    """Return frames (F, H, W, C), of the camera's shape or of the world's input, or vectors (F, n).

    Raises InvalidRequestError; NotFiniteInputError for vectors that are not finite.
    """
    if isinstance(spec, FrameSpec):
        return check_frames(spec, given, where)
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1:] != spec.shape:
        raise InvalidRequestError(
            f"{where} must be vectors of {len(spec.names)} numbers ({', '.join(spec.names)}),"
            f" not {array.dtype} {list(array.shape)}"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # invalid: a signalling NaN
        numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise NotFiniteInputError(f"{where} holds NaN or infinity, or is beyond float32")
    return numbers


def check_frames(spec: FrameSpec, frames: Any, where: str = "frames") -> UInt8:
    """Return frames (F, H, W, C) of the camera's shape or of the world's input shape.

    Raises InvalidRequestError.
    """
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        kind = getattr(frames, "dtype", type(frames).__name__)
        raise InvalidRequestError(f"{where} must be integers of 0 to 255 (uint8), not {kind}")
    if frames.ndim != 4 or len(frames) == 0:
        raise InvalidRequestError(
            f"{where} must be (F, H, W, C) with at least one, not {list(frames.shape)}"
        )
    if frames.shape[1:] in (spec.source_shape, spec.shape):
        return frames
    raise InvalidRequestError(
        f"{where}: a frame must be {list(spec.source_shape)} (the camera's shape)"
        f" or {list(spec.shape)} (the world's input shape), not {list(frames.shape[1:])}"
    )


def to_input(spec: ObservationSpec, frames: Any) -> Any:
    """Return checked frames in the world's input shape, cropped and resized if needed.

    Vectors are returned as they are, here and by the functions below.
    """
    if isinstance(spec, VectorSpec):
        return frames
    if frames.shape[1:] == spec.shape and spec.shape != spec.source_shape:
        return frames
    crop = (spec.crop.top, spec.crop.bottom, spec.crop.left, spec.crop.right)
    return np.stack([crop_and_resize(frame, crop, spec.shape[:2]) for frame in frames])


def to_numbers(spec: ObservationSpec, frames: Any) -> Array:
    """Return frames as `encode` takes them: float32 in the value range, same shape."""
    if isinstance(spec, VectorSpec):
        numbers: Array = frames
        return numbers
    low, high = spec.value_range
    scaled: Array = frames.astype(np.float32) / np.float32(255)
    if (low, high) != (0.0, 1.0):
        scaled = np.float32(low) + scaled * np.float32(high - low)
    return scaled


def to_pixels(spec: ObservationSpec, frames: Array) -> Any:
    """Return the output of `decode` as uint8 frames, same shape."""
    if isinstance(spec, VectorSpec):
        return frames
    low, high = spec.value_range
    scaled = (frames - np.float32(low)) * np.float32(255 / (high - low))
    pixels: UInt8 = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return pixels
