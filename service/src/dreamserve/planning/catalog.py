"""All planners by name.

planner_of("cem", space, 20, Cem(), uniform)  # a planner in progress: see `base`
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from dreamserve.planning.base import Actions, Planner, Uniform
from dreamserve.planning.cem import Cem, cem
from dreamserve.planning.exhaustive import exhaustive
from dreamserve.planning.icem import Icem, icem
from dreamserve.planning.mppi import Mppi, mppi
from dreamserve.planning.options import Options, check
from dreamserve.planning.random_shooting import RandomShooting, random_shooting
from dreamserve.spaces import ActionSpace, DiscreteSpace
from dreamserve_protocol.errors import InvalidRequestError


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


def options_of(
    name: str,
    given: Mapping[str, float],
    candidates: int | None = None,
    iterations: int | None = None,
) -> Any:
    """Return the options of the planner of that name: those given, else its defaults.

    Numbers such as 100.0 are integers, however JSON was written. `candidates` and `iterations` are
    what every planner is asked for: one that has no such choice ignores them, unless `given` names
    them. Raises InvalidRequestError, NotFiniteInputError.
    """
    kind = PLANNERS[name].options
    names = [field.name for field in fields(kind)]
    if unknown := sorted(given.keys() - set(names)):
        raise InvalidRequestError(f"{name} has the options {names}, not {unknown}")
    asked = {"candidates": candidates, "iterations": iterations}
    shared = {n: value for n, value in asked.items() if value is not None and n in names}
    options = kind(**{**shared, **{n: _number(value) for n, value in given.items()}})
    check(options)
    return options


def _number(value: float) -> float:
    return int(value) if float(value).is_integer() else value


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
    if isinstance(space, DiscreteSpace) and space.sequences(horizon) <= most:
        return exhaustive(space, horizon, warm)
    return PLANNERS[name].plan(space, horizon, options, uniform, warm)
