"""What an environment returns, as values that can be stored; everything else is refused by name."""

from typing import Any

import numpy as np
import numpy.typing as npt

Observed = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

ROUNDING = 1e-3  # of pictures that were resized or averaged, beyond their range


class UnsupportedEnvironmentError(ValueError):
    """An environment that a world cannot be trained on; the message says what would be right."""


def as_frame(picture: Any, shape: tuple[int, int, int], name: str) -> npt.NDArray[np.uint8]:
    """Return `picture` as a frame of `shape` (H, W, C) uint8.

    It may lack the axis of channels (H, W), have it first (C, H, W), or be a stack of pictures
    (K, H, W, C). Integers are in 0 … 255, floats in [0, 1].
    """
    array = np.asarray(picture)
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and array.shape != shape:
        array = np.moveaxis(array, 0, -1)
    elif array.ndim == 4:
        array = np.moveaxis(array, 0, 2).reshape(*array.shape[1:3], -1)
    if array.shape != shape:
        raise UnsupportedEnvironmentError(
            f"{name}: frames must be {shape}, not {np.shape(picture)}; the environment's"
            " observation space does not say what it returns"
        )
    return array if array.dtype == np.uint8 else _as_bytes(array, name)


def _as_bytes(frame: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    if frame.dtype.kind not in "biuf":
        raise UnsupportedEnvironmentError(f"{name}: frames must be numbers, not {frame.dtype}")
    largest = 255 if frame.dtype.kind in "iu" else 1
    low, high = frame.min(), frame.max()
    if not (low >= -ROUNDING and high <= largest + ROUNDING):  # false for NaN, too
        raise UnsupportedEnvironmentError(
            f"{name}: {frame.dtype} frames must be within 0 and {largest}, not {low:g} to"
            f" {high:g}; return them as uint8"
        )
    scaled = np.rint(np.clip(frame, 0, largest) * (255 // largest))
    converted: npt.NDArray[np.uint8] = scaled.astype(np.uint8)
    return converted


def as_vector(numbers: Any, shape: tuple[int], name: str) -> npt.NDArray[np.float32]:
    """Return `numbers`, of any shape, as a vector of `shape` (n,) float32.

    One integer becomes a vector of n numbers, 1 at its place (an observation of a Discrete space).
    """
    array = np.asarray(numbers)
    if array.size == 1 and array.dtype.kind in "iu" and shape != (1,):
        place = int(array.item())
        if not 0 <= place < shape[0]:
            raise UnsupportedEnvironmentError(
                f"{name}: the observation is {place}; the space has 0 to {shape[0] - 1}"
            )
        vector = np.zeros(shape, np.float32)
        vector[place] = 1
        return vector
    if array.dtype.kind in "biuf" and array.size == shape[0]:
        with np.errstate(over="ignore"):  # beyond float32: refused as infinite
            vector = array.astype(np.float32).ravel()
        if np.isfinite(vector).all():
            return vector
    raise UnsupportedEnvironmentError(
        f"{name}: observations must be {shape[0]} finite numbers, not {array!r}"
    )


def as_number(value: Any, name: str) -> float:
    """Return one finite number; UnsupportedEnvironmentError, which begins with `name`, if none."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise UnsupportedEnvironmentError(f"{name} must be one finite number, not {value!r}")
    return float(array.item())


def as_flag(value: Any, name: str) -> bool:
    """Return whether an end is there; UnsupportedEnvironmentError for what is neither 0 nor 1."""
    if isinstance(value, bool):
        return value
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf" or array.item() not in (0, 1):
        raise UnsupportedEnvironmentError(f"{name} must be true or false, not {value!r}")
    return bool(array.item())
