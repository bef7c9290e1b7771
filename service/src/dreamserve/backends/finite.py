"""Detects the rows of a batch that contain NaN or infinity."""

from math import isfinite

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_SINGLE_THREAD_SIZE = 8192  # from this size on, BLAS uses its threads, which is slower


def _surely_finite(array: Array) -> bool:
    """Return true only if all numbers are finite; false also if their sum of squares overflows.

    For small arrays the sum of squares is the quickest test.
    """
    if array.size <= _SINGLE_THREAD_SIZE:
        return isfinite(np.vdot(array, array))
    return bool(np.isfinite(array).all())


def finite_rows(*arrays: Array) -> Bools:
    """Return (B,) bool: true where a row of every array (B, *shape) is finite."""
    rows = len(arrays[0])
    if all(map(_surely_finite, arrays)):
        return np.ones(rows, np.bool_)
    masks = [np.isfinite(array.reshape(rows, -1)).all(axis=1) for array in arrays]
    finite: Bools = np.logical_and.reduce(masks)
    return finite
