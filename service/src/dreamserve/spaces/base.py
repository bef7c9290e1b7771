"""The interface and the shared part of action spaces."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

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
        try:
            array = np.asarray(actions)
        except (ValueError, TypeError) as error:
            raise InvalidActionError(f"actions must be a regular array of {self}") from error
        kinds, named = ("iu", "integers") if self.dtype is np.int64 else ("fiu", "numbers")
        if array.dtype.kind not in kinds and array.size:
            raise InvalidActionError(f"action {_shown(actions)}: must be {named} of {self}")
        return array


def _shown(actions: Any) -> str:
    text = repr(actions)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
