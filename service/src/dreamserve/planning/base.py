"""What a planner is: a generator of candidates that is told what each of them is worth.

It knows nothing of worlds. Whoever drives it dreams the candidates, in slices of any size:

    yields   actions (N, H) int64 for Discrete, (N, H, A) float32 for Box, within the bounds
    is sent  values (N,) float64; -inf for a candidate that must never win (NaN, too, never does)
    returns  Plan

Its random numbers come from `uniform(iteration, shape)`, float32 in (0, 1), so it is as
deterministic as that. N candidates (it may change from one iteration to the next; all together are
never more than the options' `candidates` x `iterations`, and two: a centre and a warm plan), H
steps, A action components, n actions.

`warm` is what remains of an earlier plan (`shifted`). A planner proposes it in its first iteration,
whatever it draws besides, so that the new plan is worth no less than going on with the old one.
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
    """The best sequence that was tried, and its value; -inf if none was any good."""

    actions: Actions  # (H,) or (H, A)
    value: float
    iterations: int


Planner = Generator[Actions, Values, Plan]


def sequence_shape(space: ActionSpace, candidates: int, horizon: int) -> tuple[int, ...]:
    """Return the shape of N sequences of H actions."""
    return (candidates, horizon, *space.shape)


def shifted(actions: Actions, steps: int) -> Actions | None:
    """Drop the steps already taken from a plan (H, …), repeat its last action to the same length.

    None when nothing remains of it.
    """
    if steps >= len(actions):
        return None
    return actions[np.minimum(np.arange(len(actions)) + steps, len(actions) - 1)]


def fitted(warm: Actions | None, horizon: int) -> Actions | None:
    """Return what remains of a plan (H', …) as H actions, the last one repeated.

    Repeating is iCEM's rule, too: what was best last is a better guess than the bounds' middle.
    """
    if warm is None or not len(warm):
        return None
    return warm[np.minimum(np.arange(horizon), len(warm) - 1)]


def put_first(drawn: Actions, sequences: Iterable[Actions]) -> None:
    """Put sequences (H, …) in place of the first ones drawn (N, H, …), as many as there is room."""
    for row, sequence in zip(range(len(drawn)), sequences, strict=False):
        drawn[row] = sequence


def finite_or_lowest(values: Values) -> Values:
    """Return the values with -inf for all that is not finite, so that it loses to all that is."""
    return np.where(np.isfinite(values), values, -np.inf)


def better(best: Plan | None, actions: Actions, values: Values, iteration: int) -> Plan:
    """Return the best candidate of this iteration, or the one known before if that is no worse.

    Of equals the first wins.
    """
    i = int(np.argmax(values))
    if best is not None and best.value >= values[i]:
        return best._replace(iterations=iteration + 1)
    return Plan(actions[i].copy(), float(values[i]), iteration + 1)


def elite(values: Values, count: int) -> npt.NDArray[np.intp]:
    """Return the indices of the `count` best candidates, best first; fewer if fewer are finite."""
    order = np.argsort(-values, kind="stable")[:count]
    return order[np.isfinite(values[order])]
