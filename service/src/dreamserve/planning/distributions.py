"""What the planners that learn draw from: a distribution of the action space's own kind."""

from dreamserve.planning.base import Actions, Plan, Planner, better, finite_or_lowest
from dreamserve.planning.categorical import Categorical
from dreamserve.planning.gaussian import LEAST_STD, Gaussian
from dreamserve.spaces import ActionSpace, DiscreteSpace

Family = Categorical | Gaussian


def family_of(
    space: ActionSpace,
    horizon: int,
    warm: Actions | None,
    std: float,
    least_std: float = LEAST_STD,
) -> Family:
    """Return the distribution to begin with: around `warm` (H, …), if there is one.

    Its deviation is `std` either way: a warm plan says where to look, not that all is known.
    """
    if isinstance(space, DiscreteSpace):
        return Categorical(space.n, horizon, warm)
    return Gaussian(space, horizon, warm, std, least_std)


def with_final_mean(best: Plan, family: Family) -> Planner:
    """Try the centre of what was learnt last, too; it is seldom drawn itself.

    Where many good plans lie around one that is better than all of them, it is that one.
    """
    actions = family.centre()[None]
    values = finite_or_lowest((yield actions))
    return better(best, actions, values, best.iterations - 1)
