"""The distributions that planners draw candidates from: one kind for each action space."""

from dreamserve.planning.base import Actions, Plan, Planner, better, finite_or_lowest
from dreamserve.planning.categorical import Categorical
from dreamserve.planning.gaussian import LEAST_STD, Gaussian
from dreamserve.spaces import ActionSpace, DiscreteSpace

Distribution = Categorical | Gaussian


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
        return Categorical(space.n, horizon, warm)
    return Gaussian(space, horizon, warm, std, least_std)


def with_final_centre(best: Plan, distribution: Distribution) -> Planner:
    """Evaluate the last distribution's centre, too, and return the better of it and `best`.

    The centre is often better than every candidate drawn around it, and is seldom drawn itself.
    """
    actions = distribution.centre()[None]
    values = finite_or_lowest((yield actions))
    return better(best, actions, values, best.iterations - 1)
