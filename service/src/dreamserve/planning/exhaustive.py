"""Exhaustive search, for Discrete action spaces with so few sequences that all can be tried."""

import numpy as np

from dreamserve.planning.base import Actions, Planner, better, finite_or_lowest, fitted
from dreamserve.spaces import DiscreteSpace


def exhaustive(space: DiscreteSpace, horizon: int, warm: Actions | None = None) -> Planner:
    """Try all sequences in one iteration; on equal values the warm plan or else the first wins."""
    places = space.n ** np.arange(horizon)[::-1]
    actions = np.arange(int(space.sequences(horizon)))[:, None] // places % space.n
    if (warm := fitted(warm, horizon)) is not None:
        actions = np.concatenate([warm[None], actions])
    values = yield actions
    return better(None, actions, finite_or_lowest(values), iteration=0)
