"""Is it an action of this world? Everything that comes from outside passes here."""

from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Bools
from dreamserve.errors import InvalidActionError, NotFiniteInputError
from dreamserve.manifest import ActionSpace, BoxSpace, DiscreteSpace


def check_action(space: ActionSpace, action: Any) -> int | Actions:
    """Return one action as an int, or float32 (A,). Raises InvalidActionError and its kin."""
    if isinstance(space, DiscreteSpace):
        if type(action) is int and 0 <= action < space.n:
            return action
        return int(check_actions(space, action, ()))
    return check_actions(space, action, ())


def check_actions(space: ActionSpace, actions: Any, leading: tuple[int, ...]) -> Actions:
    """Return actions of shape (*leading,) int64 or (*leading, A) float32, all in the space."""
    array = _as_array(space, actions)
    if 0 in leading and array.size == 0:
        if isinstance(space, DiscreteSpace):
            return np.empty(leading, np.int64)
        return np.empty((*leading, *space.shape), np.float32)
    if isinstance(space, DiscreteSpace):
        if array.dtype.kind not in "iu":
            raise InvalidActionError(f"{_said(actions)}: must be an integer of {_named(space)}")
        _check_shape(space, array.shape, leading)
        inside = (array >= 0) & (array < space.n)
        if not inside.all():
            wrong = array[~inside].flat[0]
            raise InvalidActionError(f"action {wrong} is not in {_named(space)}")
        integers: Actions = array.astype(np.int64)
        return integers
    if array.dtype.kind not in "fiu":
        raise InvalidActionError(f"{_said(actions)}: must be numbers of {_named(space)}")
    _check_shape(space, array.shape, (*leading, *space.shape))
    if not np.isfinite(array).all():
        raise NotFiniteInputError(f"{_said(actions)} holds NaN or infinity")
    return _within(space, array)


def check_columns(space: ActionSpace, actions: Any) -> tuple[Actions, Bools]:
    """Return actions (B,) int64 or (B, A) float32, and which rows (B,) are in the space.

    Raises InvalidActionError where no row can be right: for another type or shape.
    """
    array = _as_array(space, actions)
    discrete = isinstance(space, DiscreteSpace)
    if array.dtype.kind not in ("iu" if discrete else "fiu"):
        kind = "integers" if discrete else "numbers"
        raise InvalidActionError(f"actions must be {kind} of {_named(space)}, not {array.dtype}")
    row = () if isinstance(space, DiscreteSpace) else space.shape
    _check_shape(space, array.shape, (len(array), *row))
    if isinstance(space, DiscreteSpace):
        return array.astype(np.int64), (array >= 0) & (array < space.n)
    numbers, inside = _rounded(space, array)
    fits: Bools = np.logical_and.reduce(inside, axis=1)
    return numbers, fits


def no_actions(space: ActionSpace, *leading: int) -> Actions:
    """Return zeros in the form of actions: (*leading,) int64 or (*leading, A) float32."""
    if isinstance(space, DiscreteSpace):
        return np.zeros(leading, np.int64)
    return np.zeros((*leading, *space.shape), np.float32)


def _rounded(space: BoxSpace, array: Any) -> tuple[Actions, Bools]:
    """Return float32 numbers and which of them are within the bounds; NaN is not."""
    # The comparison is float32's: 0.1 as JSON writes it is inside a bound of float32's 0.1.
    low, high = np.array(space.low, np.float32), np.array(space.high, np.float32)
    rounded: Actions = np.clip(array, -3e38, 3e38).astype(np.float32)
    return rounded, np.logical_and(rounded >= low, rounded <= high)


def _within(space: BoxSpace, array: Any) -> Actions:
    rounded, inside = _rounded(space, array)
    if not inside.all():
        where = tuple(np.argwhere(~inside)[0])
        name = space.names[where[-1]]
        raise InvalidActionError(f"{name} = {array[where]:g} is not in {_named(space)}")
    return rounded


def _as_array(space: ActionSpace, actions: Any) -> Any:
    try:
        return np.asarray(actions)
    except (ValueError, TypeError) as error:
        raise InvalidActionError(f"actions must be a regular array of {_named(space)}") from error


def _check_shape(space: ActionSpace, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise InvalidActionError(
            f"shape {list(shape)}: must be {list(expected)}, actions of {_named(space)}"
        )


def _said(actions: Any) -> str:
    said = repr(actions)
    return f"action {said if len(said) <= 60 else said[:57] + '...'}"


def _named(space: ActionSpace) -> str:
    if isinstance(space, DiscreteSpace):
        names = ", ".join(f"{i} {name}" for i, name in enumerate(space.names))
        return f"Discrete({space.n}): {names}"
    bounds = zip(space.names, space.low, space.high, strict=True)
    return "Box: " + ", ".join(f"{name} in [{low:g}, {high:g}]" for name, low, high in bounds)
