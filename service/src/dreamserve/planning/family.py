"""What the planners that learn draw from: a distribution of the action space's own kind."""

from dreamserve.manifest import ActionSpace, DiscreteSpace
from dreamserve.planning.base import Actions
from dreamserve.planning.categorical import Categorical
from dreamserve.planning.gaussian import Gaussian

Family = Categorical | Gaussian


def family_of(
    space: ActionSpace, horizon: int, warm: Actions | None, std: float, least_std: float
) -> Family:
    """Return the distribution to begin with: around `warm` (H, …), if there is one.

    Its deviation is `std` either way: a warm plan says where to look, not that all is known.
    """
    if isinstance(space, DiscreteSpace):
        return Categorical(space.n, horizon, warm)
    return Gaussian(space, horizon, warm, std, least_std)


def proposals(
    family: Family, opening: list[Actions], iteration: int, iterations: int
) -> list[Actions]:
    """Return what is tried besides what is drawn, (H, …) each.

    First the opening, last the centre of what was learnt, which is seldom drawn itself.
    """
    if iteration == 0:
        return opening
    return [family.centre()] if iteration == iterations - 1 else []
