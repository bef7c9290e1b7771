"""Check the numbers of an array: their kind, and that training can compute with them.

Training squares and sums numbers in float32, so a number that is finite on disk can still become
infinite in a loss. Messages name the array and the row.
"""

import numpy as np
import numpy.typing as npt

from dreamserve_training.data.episodes import DataError, Episode

Values = npt.NDArray[np.generic]
Bools = npt.NDArray[np.bool_]

LARGEST = 1e9  # absolute value; its square, over a small variance, still fits in float32
LARGEST_LOGVAR = 20.0  # a deviation of 22,026; that of the prior is 1


def check_numbers(episode: Episode, name: str, where: object, largest: float = LARGEST) -> None:
    """Raise DataError if array `name` (T, …) is not of real numbers of at most `largest`."""
    values = episode[name]
    if values.dtype.kind not in "iuf":
        raise DataError(f"{where}: {name} must be numbers, not {values.dtype}")
    is_finite = np.isfinite(values)
    if not is_finite.all():
        raise DataError(f"{where}: {name} holds NaN or infinity at step {_first_row(~is_finite)}")
    too_large = np.abs(values.astype(np.float64)) > largest
    if too_large.any():
        worst = values[too_large].flat[0]
        raise DataError(
            f"{where}: {name} holds {worst:.6g} at step {_first_row(too_large)}; training in"
            f" float32 needs absolute values up to {largest:g}: scale them"
        )


def check_flags(episode: Episode, name: str, where: object) -> None:
    """Raise DataError if array `name` is not (T,) of booleans, or of numbers that are 0 or 1."""
    flags = episode[name]
    if flags.ndim != 1:
        raise DataError(f"{where}: {name} must be (T,), not {flags.shape}")
    if flags.dtype.kind not in "biuf":
        raise DataError(f"{where}: {name} must be booleans, not {flags.dtype}")
    is_flag = (flags == 0) | (flags == 1)
    if not is_flag.all():
        step = _first_row(~is_flag)
        raise DataError(f"{where}: {name} is {flags[step]} at step {step}; it must be 0 or 1")


def check_logvar(episode: Episode, where: object) -> None:
    """Raise DataError for a log variance (T, Z) whose deviation training cannot compute with."""
    too_large = np.greater(episode["logvar"], LARGEST_LOGVAR)
    if too_large.any():
        step = _first_row(too_large)
        raise DataError(
            f"{where}: logvar is {episode['logvar'][step].max():.6g} at step {step}, a deviation"
            f" of exp(logvar / 2); at most {LARGEST_LOGVAR:g} can be trained on"
        )


def _first_row(is_bad: Bools) -> int:
    return int(np.argmax(is_bad.reshape(len(is_bad), -1).any(axis=1)))
