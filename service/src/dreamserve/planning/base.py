"""The planner interface: a generator that yields candidates and receives their values.

A planner is independent of worlds. Its caller evaluates the candidates:

    yields    actions (N, H) int64 for Discrete, (N, H, A) float32 for Box, within the bounds, or
              (N, H, A) int64 for MultiDiscrete and MultiBinary;
              or None, between two pieces of its own work, where other work may run
    receives  values (N,) float64; -inf or NaN for a candidate that must never win; None for None
    returns   Plan

Its random numbers come from `uniform(iteration, shape, first)`, float32 in (0, 1): those of an
iteration from number `first` on. It is deterministic if that is. Whatever grows with N x H is
computed in pieces of NUMBERS_AT_ONCE numbers (`pieces`), which change no result. N is the number of
candidates, H steps, A action components, n choices. N may differ between iterations; the total is
at most the options' `candidates` x `iterations` + 2 (the centre and the warm plan).

`warm` is the rest of an earlier plan (`shifted`). A planner proposes it in its first iteration, so
the new plan's value is at least that of the old one.
"""

from collections.abc import Callable, Generator, Iterator
from math import prod
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from dreamserve.spaces import ActionSpace

Array = npt.NDArray[np.float32]
Actions = npt.NDArray[Any]
Values = npt.NDArray[np.float64]
Uniform = Callable[[int, tuple[int, ...], int], Array]

R = TypeVar("R")
Pieces = Generator[None, Any, R]  # work that yields None between two of its pieces

NUMBERS_AT_ONCE = 16_384  # of a piece: takes less than a millisecond


class Plan(NamedTuple):
    """The best candidate that was evaluated, and its value; -inf if no value was finite."""

    actions: Actions  # (H,) or (H, A)
    value: float
    iterations: int


Planner = Generator[Actions | None, Any, Plan]


def sequence_shape(space: ActionSpace, candidates: int, horizon: int) -> tuple[int, ...]:
    """Return the shape of N sequences of H actions."""
    return (candidates, horizon, *space.shape)


def action_durations(step: int, horizon: int, action_repeat: int) -> npt.NDArray[np.int64]:
    """Return the number of steps (H,) that each action of a plan made after `step` is held.

    Actions change after steps that are multiples of `action_repeat`, so a plan made in the middle
    of an action can hold it until its planned end. The last action is held longer by the steps that
    the first one lacks.
    """
    durations, elapsed = np.full(horizon, action_repeat), step % action_repeat
    durations[0] -= elapsed
    durations[-1] += elapsed
    return durations


def resized(warm: Actions | None, horizon: int) -> Actions | None:
    """Return a plan (H', …) cut to H actions, or extended by its last one as in iCEM, if any."""
    if warm is None or not len(warm):
        return None
    return warm[np.minimum(np.arange(horizon), len(warm) - 1)]


def pieces(count: int, numbers: int) -> Iterator[slice]:
    """Cut `count` rows of `numbers` numbers each into slices of at most NUMBERS_AT_ONCE numbers.

    A slice has at least one row.
    """
    rows = max(1, NUMBERS_AT_ONCE // max(1, numbers))
    return (slice(first, min(first + rows, count)) for first in range(0, count, rows))


def drawn(
    space: ActionSpace,
    uniform: Uniform,
    iteration: int,
    shape: tuple[int, ...],
    make: Callable[[Array, int], Actions],
    given: Actions | None = None,
) -> Pieces[Actions]:
    """Draw N candidates, actions (N, H, …), by `make(uniforms, first)`, piece by piece.

    `shape` (N, H, …) is that of all uniforms; `first` is the number of a piece's first candidate.
    The first candidates are those `given`, at most N.
    """
    (count, *each), numbers = shape, prod(shape[1:])
    actions: Actions = space.zeros(count, shape[1])
    for rows in pieces(count, numbers):
        if rows.start:
            yield None
        part = uniform(iteration, (rows.stop - rows.start, *each), rows.start * numbers)
        actions[rows] = make(part, rows.start)
        if given is not None and rows.start < len(given):
            end = min(rows.stop, len(given))
            actions[rows.start : end] = given[rows.start : end]
    return actions


def taken(actions: Actions, rows: npt.NDArray[np.intp]) -> Pieces[Actions]:
    """Return a copy of these rows of actions (N, H, …)."""
    copied = np.empty((len(rows), *actions.shape[1:]), actions.dtype)
    for some in pieces(len(rows), prod(actions.shape[1:])):
        if some.start:
            yield None
        copied[some] = actions[rows[some]]
    return copied


def finite_or_lowest(values: Values) -> Values:
    """Return the values (N,) with NaN and infinity replaced by -inf."""
    return np.where(np.isfinite(values), values, -np.inf)


def better(best: Plan | None, actions: Actions, values: Values, iteration: int) -> Plan:
    """Return `best`, or this iteration's best candidate if its value is higher.

    On equal values the earlier candidate wins.
    """
    i = int(np.argmax(values))
    if best is not None and best.value >= values[i]:
        return best._replace(iterations=iteration + 1)
    return Plan(actions[i].copy(), float(values[i]), iteration + 1)


def elite(values: Values, count: int) -> npt.NDArray[np.intp]:
    """Return the indices of the `count` best candidates, best first; fewer if fewer are finite."""
    order = np.argsort(-values, kind="stable")[:count]
    return order[np.isfinite(values[order])]
