"""What all action spaces have in common."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from math import inf, log2, prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from dreamserve_protocol.arrays import array_of
from dreamserve_protocol.errors import InvalidActionError, NotFiniteInputError

Actions = npt.NDArray[np.int64] | npt.NDArray[np.float32]
Array = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Dtype = type[np.int64] | type[np.float32]

_SHOWN = 60  # characters of an invalid action that an error quotes
_LISTED = 64  # choices or components that an error names


class ChoiceGroup(NamedTuple):
    """The components of an action that have the same number of choices."""

    choices: int  # n
    components: npt.NDArray[np.intp]  # (K,) their numbers
    columns: npt.NDArray[np.intp]  # (K, n) their choices' places if those of all are in a row


class Space(BaseModel):
    """An action space with names for its actions, or for the components of an action."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    names: tuple[str, ...]

    def __eq__(self, other: object) -> bool:  # pydantic's would compare the cached arrays, too
        return type(self) is type(other) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in type(self).model_fields)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one action."""

    @property
    @abstractmethod
    def dtype(self) -> Dtype:
        """Dtype of its actions."""

    @property
    @abstractmethod
    def choice_counts(self) -> tuple[int, ...]:
        """Number of choices of each component; empty for a Box, whose components are intervals."""

    @property
    def width(self) -> int:
        """Number of a policy's scores: one per choice or, if none, per component."""
        return sum(self.choice_counts) or len(self.names)

    @property
    def uniforms(self) -> int:
        """Number of uniforms that one random action takes."""
        return prod(self.shape)

    @cached_property
    def choice_groups(self) -> tuple[ChoiceGroup, ...]:
        """The components by their number of choices, so that each group is computed at once."""
        counts = np.array(self.choice_counts, np.intp)
        first = np.cumsum(counts) - counts  # the place of each component's first choice
        groups = ((int(n), np.flatnonzero(counts == n)) for n in np.unique(counts))
        return tuple(ChoiceGroup(n, part, first[part, None] + np.arange(n)) for n, part in groups)

    @abstractmethod
    def uniform(self, uniforms: Array) -> Actions:
        """Map uniforms in (0, 1), of shape (*leading, *shape), to actions."""

    @abstractmethod
    def from_scores(self, scores: Array, is_finite: Bools) -> Actions:
        """Return the actions (B, *shape) of scores (B, width); any action where not finite."""

    @abstractmethod
    def _convert(self, actions: npt.NDArray[Any]) -> tuple[Actions, Bools]:
        """Return actions of the space's dtype, and whether each, or each component, is inside."""

    @abstractmethod
    def _outside(self, actions: npt.NDArray[Any], inside: Bools) -> str:
        """Return a description of the first action that is not in the space."""

    def sequences(self, horizon: int) -> float:
        """Return the number of different sequences of `horizon` actions; infinity for a Box."""
        counts = self.choice_counts
        if not counts or horizon * sum(map(log2, counts)) >= 1000:
            return inf
        return float(prod(counts) ** horizon)

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
        """Return an action from an array as in a response: an int, or a copy (A,)."""
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


def listed(parts: Iterable[str], separator: str = ", ") -> str:
    """Return the first parts in a row; three dots stand for more."""
    shown = list(parts)
    return separator.join([*shown[:_LISTED], *["…"] * (len(shown) > _LISTED)])


def _shown(actions: Any) -> str:
    text = repr(actions)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
