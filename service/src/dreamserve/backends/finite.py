"""Which rows of a batch came out finite."""

from math import isfinite

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_BLAS_ALONE = 8192


def _surely_finite(array: Array) -> bool:
    """Tell whether all is finite; a sum of squares that overflows is not sure of it.

    The quickest of all ways to ask, up to the size from which BLAS would ask its threads.
    """
    if array.size <= _BLAS_ALONE:
        return isfinite(np.vdot(array, array))
    return bool(np.isfinite(array).all())


def finite_rows(*arrays: Array) -> Bools:
    """Return (B,): true where a row of every array is finite."""
    rows = len(arrays[0])
    if all(map(_surely_finite, arrays)):
        return np.ones(rows, np.bool_)
    each = [np.isfinite(array.reshape(rows, -1)).all(axis=1) for array in arrays]
    every: Bools = np.logical_and.reduce(each)
    return every
