"""All planners by name.

planner_of("cem", space, 20, Cem(), uniform)  # a planner in progress: see `base`
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from dreamserve.manifest import ActionSpace, DiscreteSpace
from dreamserve.planning.base import Actions, Planner, Uniform
from dreamserve.planning.cem import Cem, cem
from dreamserve.planning.exhaustive import exhaustive, sequences
from dreamserve.planning.icem import Icem, icem
from dreamserve.planning.mppi import Mppi, mppi
from dreamserve.planning.options import Options
from dreamserve.planning.random_shooting import RandomShooting, random_shooting


class Entry(NamedTuple):
    """A planner, and the options that it takes."""

    options: type[Options]
    plan: Callable[[ActionSpace, int, Any, Uniform, Actions | None], Planner]


PLANNERS = {
    "random_shooting": Entry(RandomShooting, random_shooting),
    "cem": Entry(Cem, cem),
    "icem": Entry(Icem, icem),
    "mppi": Entry(Mppi, mppi),
}


def planner_of(
    name: str,
    space: ActionSpace,
    horizon: int,
    options: Any,
    uniform: Uniform,
    warm: Actions | None = None,
) -> Planner:
    """Return the planner of that name; or exhaustive search, if that tries no more candidates."""
    most = options.candidates * options.iterations
    if isinstance(space, DiscreteSpace) and sequences(space, horizon) <= most:
        return exhaustive(space, horizon, warm)
    return PLANNERS[name].plan(space, horizon, options, uniform, warm)
