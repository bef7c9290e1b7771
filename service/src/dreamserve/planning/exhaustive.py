"""Exhaustive search, for Discrete action spaces with few enough sequences to evaluate them all."""

import numpy as np

from dreamserve.planning.base import Actions, Planner, better, finite_or_lowest, pieces, resized
from dreamserve.spaces import DiscreteSpace


def exhaustive(space: DiscreteSpace, horizon: int, warm: Actions | None = None) -> Planner:
    """Return a planner that evaluates all sequences at once; ties go to `warm`, else the first."""
    places, count = space.n ** np.arange(horizon)[::-1], int(space.sequences(horizon))
    warm = resized(warm, horizon)
    before = 0 if warm is None else 1
    actions = space.zeros(before + count, horizon)
    if warm is not None:
        actions[0] = warm
    for rows in pieces(count, horizon):
        if rows.start:
            yield None
        numbers = np.arange(rows.start, rows.stop)[:, None]
        actions[before + rows.start : before + rows.stop] = numbers // places % space.n
    values = yield actions
    return better(None, actions, finite_or_lowest(values), iteration=0)
