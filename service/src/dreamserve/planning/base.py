"""The planner interface: a generator that yields candidates and receives their values.

A planner is independent of worlds. Its caller evaluates the candidates:

    yields    actions (N, H) int64 for Discrete, (N, H, A) float32 for Box, within the bounds
    receives  values (N,) float64; -inf or NaN for a candidate that must never win
    returns   Plan

Its random numbers come from `uniform(iteration, shape)`, float32 in (0, 1); it is deterministic if
that is. N is the number of candidates, H steps, A action components, n actions. N may differ
between iterations; the total is at most the options' `candidates` x `iterations` + 2 (the centre
and the warm plan).

`warm` is the rest of an earlier plan (`shifted`). A planner proposes it in its first iteration, so
the new plan's value is at least that of the old one.
"""

from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dreamserve.spaces import ActionSpace

Array = npt.NDArray[np.float32]
Actions = npt.NDArray[Any]
Values = npt.NDArray[np.float64]
Uniform = Callable[[int, tuple[int, ...]], Array]


class Plan(NamedTuple):
    """The best candidate that was evaluated, and its value; -inf if no value was finite."""

    actions: Actions  # (H,) or (H, A)
    value: float
    iterations: int


Planner = Generator[Actions, Values, Plan]


def sequence_shape(space: ActionSpace, candidates: int, horizon: int) -> tuple[int, ...]:
    """Return the shape of N sequences of H actions."""
    return (candidates, horizon, *space.shape)


def shifted(actions: Actions, steps: int) -> Actions | None:
    """Drop the steps already taken from a plan (H, …), and repeat its last action up to H.

    Return None if no step remains.
    """
    if steps >= len(actions):
        return None
    return actions[np.minimum(np.arange(len(actions)) + steps, len(actions) - 1)]


def resized(warm: Actions | None, horizon: int) -> Actions | None:
    """Return a plan (H', …) cut to H actions, or extended by its last one as in iCEM, if any."""
    if warm is None or not len(warm):
        return None
    return warm[np.minimum(np.arange(horizon), len(warm) - 1)]


def put_first(actions: Actions, sequences: Iterable[Actions]) -> None:
    """Overwrite the first candidates of `actions` (N, H, …) with at most N sequences (H, …)."""
    for row, sequence in zip(range(len(actions)), sequences, strict=False):
        actions[row] = sequence


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
