"""All planners by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

from dreamserve.manifest import ActionSpace
from dreamserve.planning.base import Actions, Planner, Uniform
from dreamserve.planning.cem import Cem, cem
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
