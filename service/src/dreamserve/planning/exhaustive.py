"""Exhaustive search, for Discrete action spaces with few enough sequences to evaluate them all."""

import numpy as np

from dreamserve.planning.base import Actions, Planner, better, finite_or_lowest, resized
from dreamserve.spaces import DiscreteSpace


def exhaustive(space: DiscreteSpace, horizon: int, warm: Actions | None = None) -> Planner:
    """Return a planner that evaluates all sequences at once; ties go to `warm`, else the first."""
    places = space.n ** np.arange(horizon)[::-1]
    actions = np.arange(int(space.sequences(horizon)))[:, None] // places % space.n
    if (warm := resized(warm, horizon)) is not None:
        actions = np.concatenate([warm[None], actions])
    values = yield actions
    return better(None, actions, finite_or_lowest(values), iteration=0)
