"""Exhaustive search, for action spaces with few enough sequences to evaluate them all."""

import numpy as np

from dreamserve.planning.base import Actions, Planner, better, finite_or_lowest, pieces, resized
from dreamserve.spaces import ActionSpace


def exhaustive(space: ActionSpace, horizon: int, warm: Actions | None = None) -> Planner:
    """Return a planner that evaluates all sequences at once; ties go to `warm`, else the first.

    A sequence's number has a digit for each choice, the first choice's first.
    """
    bases, count = np.tile(space.choice_counts, horizon), int(space.sequences(horizon))
    places = np.append(np.cumprod(bases[:0:-1])[::-1], 1)  # worth of each digit
    warm = resized(warm, horizon)
    before = 0 if warm is None else 1
    actions = space.zeros(before + count, horizon)
    if warm is not None:
        actions[0] = warm
    for rows in pieces(count, len(bases)):
        if rows.start:
            yield None
        numbers = np.arange(rows.start, rows.stop)[:, None]
        digits = numbers // places % bases
        found = slice(before + rows.start, before + rows.stop)
        actions[found] = digits.reshape(-1, *actions.shape[1:])
    values = yield actions
    return better(None, actions, finite_or_lowest(values), iteration=0)
