"""The distributions that planners draw candidates from: one kind for each action space."""

from math import prod

import numpy as np
import numpy.typing as npt

from dreamserve.planning.base import (
    Actions,
    Pieces,
    Plan,
    Planner,
    Values,
    better,
    finite_or_lowest,
    pieces,
)
from dreamserve.planning.categorical import Categorical, Categoricals
from dreamserve.planning.gaussian import LEAST_STD, Gaussian
from dreamserve.spaces import ActionSpace, BoxSpace, DiscreteSpace

Distribution = Categorical | Categoricals | Gaussian


def distribution_for(
    space: ActionSpace,
    horizon: int,
    warm: Actions | None,
    std: float,
    least_std: float = LEAST_STD,
) -> Distribution:
    """Return the distribution of the first iteration: around `warm` (H, …), if there is one.

    A warm plan moves the mean and leaves the deviation at `std`, so the search stays as wide.
    """
    if isinstance(space, DiscreteSpace):
        return Categorical(space.n, (horizon,), warm)
    if isinstance(space, BoxSpace):
        return Gaussian(space, horizon, warm, std, least_std)
    return Categoricals(space, horizon, warm)


def fitted(
    distribution: Distribution,
    actions: Actions,
    weights: Values,
    momentum: float,
    rows: npt.NDArray[np.intp] | None = None,
) -> Pieces[None]:
    """Fit a distribution to actions (N, H, …), or to some of their rows, a piece of H at a time.

    `weights` has one for each of the rows.
    """
    for steps in pieces(actions.shape[1], len(weights) * prod(actions.shape[2:])):
        if steps.start:
            yield None
        part = actions[:, steps] if rows is None else actions[rows, steps]
        distribution.fit(part, weights, momentum, steps)


def with_final_centre(best: Plan, distribution: Distribution) -> Planner:
    """Evaluate the last distribution's centre, too, and return the better of it and `best`.

    The centre is often better than every candidate drawn around it, and is seldom drawn itself.
    """
    actions = distribution.centre()[None]
    values = finite_or_lowest((yield actions))
    return better(best, actions, values, best.iterations - 1)
