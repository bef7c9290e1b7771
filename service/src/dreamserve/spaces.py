"""Action spaces, as in Gymnasium: shape, dtype, membership, and actions from uniforms or scores.

Only planners, whose distributions differ, ask for the kind of a space.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from math import inf
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dreamserve_protocol.arrays import array_of
from dreamserve_protocol.errors import InvalidActionError, NotFiniteInputError

Actions = npt.NDArray[np.int64] | npt.NDArray[np.float32]
Array = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Dtype = type[np.int64] | type[np.float32]

_SHOWN = 60  # characters of an invalid action that an error quotes


class Space(BaseModel):
    """An action space with names for its actions, or for the components of an action."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    names: tuple[str, ...]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one action."""

    @property
    @abstractmethod
    def dtype(self) -> Dtype:
        """Dtype of its actions."""

    @property
    def width(self) -> int:
        """Number of a policy's scores: one per action or, in a Box, per component."""
        return len(self.names)

    @property
    @abstractmethod
    def uniforms(self) -> int:
        """Number of uniforms that one random action takes."""

    @abstractmethod
    def uniform(self, uniforms: Array) -> Actions:
        """Map uniforms in (0, 1), of shape (*leading, *shape), to actions."""

    @abstractmethod
    def from_scores(self, scores: Array, is_finite: Bools) -> Actions:
        """Return the actions (B, *shape) of scores (B, width); any action where not finite."""

    @abstractmethod
    def sequences(self, horizon: int) -> float:
        """Return the number of different sequences of `horizon` actions; infinity for a Box."""

    @abstractmethod
    def _convert(self, actions: npt.NDArray[Any]) -> tuple[Actions, Bools]:
        """Return actions of the space's dtype, and whether each, or each component, is inside."""

    @abstractmethod
    def _outside(self, actions: npt.NDArray[Any], inside: Bools) -> str:
        """Return a description of the first action that is not in the space."""

    def zeros(self, *leading: int) -> Actions:
        """Return actions (*leading, *shape) of zeros, which may be outside the space."""
        zeros: Any = np.zeros((*leading, *self.shape), self.dtype)
        actions: Actions = zeros
        return actions

    def array(self, actions: Sequence[Any]) -> Actions:
        """Return valid single actions as an array (B, *shape)."""
        stacked: Any = np.array(actions, self.dtype)
        checked: Actions = stacked
        return checked

    def single(self, action: Any) -> Any:
        """Return an action from an array as in a response: an int, or a copy (A,) float32."""
        return action.copy() if self.shape else int(action)

    def check(self, actions: Any, leading: tuple[int, ...] = ()) -> Actions:
        """Return actions (*leading, *shape), all in the space.

        Raises InvalidActionError, or NotFiniteInputError for NaN and infinity.
        """
        array = self._numbers(actions)
        expected = (*leading, *self.shape)
        if array.size == 0 and 0 in expected:
            return self.zeros(*leading)
        if array.shape != expected:
            raise InvalidActionError(
                f"shape {list(array.shape)}: must be {list(expected)}, actions of {self}"
            )
        if not np.isfinite(array).all():
            raise NotFiniteInputError(f"action {_shown(actions)} holds NaN or infinity")
        converted, inside = self._convert(array)
        if not inside.all():
            raise InvalidActionError(f"{self._outside(array, inside)} is not in {self}")
        return converted

    def check_rows(self, actions: Any) -> tuple[Actions, Bools]:
        """Return actions (B, *shape), and which rows (B,) are in the space.

        Raises InvalidActionError if no row can be valid: for another type or shape.
        """
        array = self._numbers(actions)
        if array.shape[1:] != self.shape or not array.ndim:
            raise InvalidActionError(
                f"shape {list(array.shape)}: must be {['B', *self.shape]}, actions of {self}"
            )
        converted, inside = self._convert(array)
        rows: Bools = np.logical_and.reduce(inside.reshape(len(array), -1), axis=1)
        return converted, rows

    def _numbers(self, actions: Any) -> npt.NDArray[Any]:
        array = actions if isinstance(actions, np.ndarray) else self._array(actions)
        kinds = "iu" if self.dtype is np.int64 else "fiu"
        if array.dtype.kind not in kinds and array.size:
            raise self._wrong_kind(actions)
        return array

    def _array(self, actions: Any) -> npt.NDArray[Any]:
        try:
            return array_of("actions", actions, error=InvalidActionError)
        except InvalidActionError:
            raise self._wrong_kind(actions) from None
        except (ValueError, TypeError) as error:
            raise InvalidActionError(f"actions must be a regular array of {self}") from error

    def _wrong_kind(self, actions: Any) -> InvalidActionError:
        named = "integers" if self.dtype is np.int64 else "numbers"
        return InvalidActionError(f"action {_shown(actions)}: must be {named} of {self}")


def _shown(actions: Any) -> str:
    text = repr(actions)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


class DiscreteSpace(Space):
    """Gymnasium's Discrete: actions 0 … n-1, each with a name."""

    type: Literal["Discrete"] = "Discrete"
    n: int = Field(ge=1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one action."""
        return ()

    @property
    def dtype(self) -> Dtype:
        """Dtype of its actions."""
        return np.int64

    @property
    def uniforms(self) -> int:
        """Number of uniforms that one random action takes."""
        return 1

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        if len(self.names) != self.n:
            raise ValueError(f"{self.n} actions but {len(self.names)} names")
        return self

    def __str__(self) -> str:
        names = ", ".join(f"{i} {name}" for i, name in enumerate(self.names))
        return f"Discrete({self.n}): {names}"

    def uniform(self, uniforms: Array) -> Actions:
        return np.minimum((uniforms * self.n).astype(np.int64), self.n - 1)

    def from_scores(self, scores: Array, is_finite: Bools) -> Actions:
        best: Actions = np.argmax(scores, axis=1)
        return best

    def sequences(self, horizon: int) -> float:
        return float(self.n**horizon) if horizon * np.log2(self.n) < 1000 else inf

    def check(self, actions: Any, leading: tuple[int, ...] = ()) -> Any:
        if type(actions) is int and not leading and 0 <= actions < self.n:
            return actions  # fast path of most steps
        checked = super().check(actions, leading)
        return checked if checked.ndim else int(checked)

    def _convert(self, actions: npt.NDArray[Any]) -> tuple[Actions, Bools]:
        return actions.astype(np.int64), (actions >= 0) & (actions < self.n)

    def _outside(self, actions: npt.NDArray[Any], inside: Bools) -> str:
        return f"action {actions[~inside].flat[0]}"


_LANES = 64  # at least the float32 lanes of any CPU's vectors


class BoxSpace(Space):
    """Gymnasium's Box with one axis: float32 actions, each component within [low, high]."""

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
    def uniforms(self) -> int:
        """Number of uniforms that one random action takes."""
        return len(self.low)

    @model_validator(mode="after")
    def _valid_bounds(self) -> Self:
        if not len(self.low) == len(self.high) == len(self.names) > 0:
            raise ValueError("low, high and names must have the same length, at least one")
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("each low must be below its high")
        return self

    def __str__(self) -> str:
        bounds = zip(self.names, self.low, self.high, strict=True)
        return "Box: " + ", ".join(f"{name} in [{low:g}, {high:g}]" for name, low, high in bounds)

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """The bounds, (A,) each, rounded to float32."""
        return np.array(self.low, np.float32), np.array(self.high, np.float32)

    def uniform(self, uniforms: Array) -> Actions:
        return between(*self.bounds, uniforms)

    def from_scores(self, scores: Array, is_finite: Bools) -> Actions:
        low, high = self.bounds
        share = (_tanh(np.where(is_finite[:, None], scores, np.float32(0))) + 1) / 2
        return np.clip(low + share * (high - low), low, high)

    def sequences(self, horizon: int) -> float:
        return inf

    def _convert(self, actions: npt.NDArray[Any]) -> tuple[Actions, Bools]:
        # Compared as float32: then 0.1 from JSON is inside a bound of 0.1.
        low, high = self.bounds
        rounded: Actions = np.clip(actions, -3e38, 3e38).astype(np.float32)
        return rounded, np.logical_and(rounded >= low, rounded <= high)

    def _outside(self, actions: npt.NDArray[Any], inside: Bools) -> str:
        where = tuple(np.argwhere(~inside)[0])
        return f"{self.names[where[-1]]} = {actions[where]:g}"


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


ActionSpace = Annotated[DiscreteSpace | BoxSpace, Field(discriminator="type")]
