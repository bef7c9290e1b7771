"""Exhaustive search, for action spaces with few enough sequences to evaluate them all."""

from math import gcd

import numpy as np

from dreamserve.planning.base import Actions, Plan, Planner, finite_or_lowest, pieces, resized
from dreamserve.spaces import ActionSpace


def exhaustive(space: ActionSpace, horizon: int, warm: Actions | None = None) -> Planner:
    """Return a planner that evaluates all sequences at once; ties go to `warm`, else the first.

    A sequence's number has a digit for each choice, the first choice's first. They are evaluated
    far from each other, so that what a deadline leaves out does not all begin alike.
    """
    bases, count = np.tile(space.choice_counts, horizon), int(space.sequences(horizon))
    places = np.append(np.cumprod(bases[:0:-1])[::-1], 1)  # worth of each digit
    warm = resized(warm, horizon)
    before = 0 if warm is None else 1
    stride = _stride(count)
    actions = space.zeros(before + count, horizon)
    if warm is not None:
        actions[0] = warm
    for rows in pieces(count, len(bases)):
        if rows.start:
            yield None
        numbers = np.arange(rows.start, rows.stop) * stride % count
        digits = numbers[:, None] // places % bases
        found = slice(before + rows.start, before + rows.stop)
        actions[found] = digits.reshape(-1, *actions.shape[1:])
    values = finite_or_lowest((yield actions))
    best = np.flatnonzero(values == values.max())
    if warm is None or best[0]:  # the sequence with the lowest number
        best = best[[np.argmin((best - before) * stride % count)]]
    return Plan(actions[best[0]].copy(), float(values[best[0]]), 1)


def _stride(count: int) -> int:
    """Return a number without a common divisor with `count`, near its golden section."""
    stride = round(count * (5**0.5 - 1) / 2)
    while gcd(stride, count) > 1:
        stride += 1
    return max(1, stride)
