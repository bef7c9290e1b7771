"""Conversion of frames: uint8 outside the engine, float32 in the world's value range inside."""

from typing import Any

import numpy as np

from dreamserve.backends.base import Array, Backend
from dreamserve.backends.finite import finite_rows
from dreamserve.frames import crop_and_resize
from dreamserve.observations import FrameSpec
from dreamserve_protocol.arrays import UInt8
from dreamserve_protocol.errors import DreamNotFiniteError, InvalidRequestError


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


def to_input(spec: FrameSpec, frames: UInt8) -> UInt8:
    """Return checked frames in the world's input shape, cropped and resized if needed."""
    if frames.shape[1:] == spec.shape and spec.shape != spec.source_shape:
        return frames
    crop = (spec.crop.top, spec.crop.bottom, spec.crop.left, spec.crop.right)
    return np.stack([crop_and_resize(frame, crop, spec.shape[:2]) for frame in frames])


def to_numbers(spec: FrameSpec, frames: UInt8) -> Array:
    """Return frames as `encode` takes them: float32 in the value range, same shape."""
    low, high = spec.value_range
    scaled: Array = frames.astype(np.float32) / np.float32(255)
    if (low, high) != (0.0, 1.0):
        scaled = np.float32(low) + scaled * np.float32(high - low)
    return scaled


def to_pixels(spec: FrameSpec, frames: Array) -> UInt8:
    """Return the output of `decode` as uint8 frames, same shape."""
    low, high = spec.value_range
    scaled = (frames - np.float32(low)) * np.float32(255 / (high - low))
    pixels: UInt8 = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return pixels


def picture(backend: Backend, spec: FrameSpec, latent: Array) -> UInt8:
    """Return the decoded frame (H, W, C) of latent (1, Z). Raises DreamNotFiniteError."""
    frame = backend.decode(latent)
    if not finite_rows(frame)[0]:
        raise DreamNotFiniteError("the frame is NaN or infinity")
    return to_pixels(spec, frame[0])
