"""Gymnasium's Box."""

from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from dreamserve.spaces.base import Actions, Array, Bools, Dtype, Space, listed

_LARGEST = float(np.finfo(np.float32).max)
_LANES = 64  # at least the float32 lanes of any CPU's vectors


class BoxSpace(Space):
    """Float32 actions with one axis, each component within [low, high]."""

    type: Literal["Box"] = "Box"
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action."""
        return (len(self.low),)

    @property
    def dtype(self) -> Dtype:
        """Dtype of its actions."""
        return np.float32

    @property
    def choice_counts(self) -> tuple[int, ...]:
        """None: the components are intervals."""
        return ()

    @model_validator(mode="after")
    def _valid_bounds(self) -> Self:
        if not len(self.low) == len(self.high) == len(self.names) > 0:
            raise ValueError("low, high and names must have the same length, at least one")
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("each low must be below its high")
        if max(map(abs, self.low + self.high)) > _LARGEST:
            raise ValueError(f"bounds must be float32 numbers, at most {_LARGEST:g} in magnitude")
        return self

    def __str__(self) -> str:
        bounds = zip(self.names, self.low, self.high, strict=True)
        return "Box: " + listed(
            f"{name} in [{_digits(low)}, {_digits(high)}]" for name, low, high in bounds
        )

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """The bounds, (A,) each, rounded to float32."""
        return np.array(self.low, np.float32), np.array(self.high, np.float32)

    def uniform(self, uniforms: Array) -> Actions:
        return between(*self.bounds, uniforms)

    def from_scores(self, scores: Array, is_finite: Bools) -> Actions:
        shares = (_tanh(np.where(is_finite[:, None], scores, np.float32(0))) + 1) / np.float32(2)
        return between(*self.bounds, shares)

    def _convert(self, actions: npt.NDArray[Any]) -> tuple[Actions, Bools]:
        # Compared as float32: then 0.1 from JSON is inside a bound of 0.1.
        low, high = self.bounds
        with np.errstate(over="ignore", invalid="ignore"):  # invalid: a signalling NaN
            rounded: Actions = actions.astype(np.float32)
        return rounded, np.logical_and(rounded >= low, rounded <= high)

    def _outside(self, actions: npt.NDArray[Any], inside: Bools) -> str:
        where = tuple(np.argwhere(~inside)[0])
        return f"{self.names[where[-1]]} = {_digits(actions[where])}"


def _digits(number: Any) -> str:
    """Return a number as text, with as many digits as tell it from all other float32 numbers."""
    text = f"{number:g}"
    with np.errstate(over="ignore"):
        rounded = np.float32(number)
        return text if np.float32(text) == rounded else str(rounded)


def between(low: Array, high: Array, shares: Array) -> Array:
    """Interpolate from `low` (A,), at share 0, to `high` (A,), at share 1, by shares (…, A).

    Both ends are exact. The formula avoids high - low, which may overflow float32.
    """
    actions: Array = low * (1 - shares)
    actions += high * shares
    return np.clip(actions, low, high, out=actions)


def _tanh(scores: Array) -> Array:
    """Return tanh of scores (B, A), padded to full vectors of the CPU.

    numpy computes the rest of an incomplete vector in another way, so the last bit of a number
    would depend on its position.
    """
    padded = np.zeros(-(-scores.size // _LANES) * _LANES, np.float32)
    padded[: scores.size] = scores.ravel()
    squashed: Array = np.tanh(padded)[: scores.size].reshape(scores.shape)
    return squashed
