"""All planners by name.

planner_of("cem", space, 20, Cem(), uniform)  # a generator: see `base`
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
from dreamserve.spaces import ActionSpace
from dreamserve_protocol.errors import InvalidRequestError


class Entry(NamedTuple):
    """A planner's options class, and the function that makes the planner."""

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
    values: Mapping[str, float],
    candidates: int | None = None,
    iterations: int | None = None,
) -> Any:
    """Return the options of the planner `name`: `values`, and defaults for the others.

    Whole numbers such as 100.0 become integers, because JSON does not distinguish them. `values`
    override `candidates` and `iterations`, which a planner without such an option ignores.
    Raises InvalidRequestError, NotFiniteInputError.
    """
    options_class = PLANNERS[name].options
    names = [field.name for field in fields(options_class)]
    if unknown := sorted(values.keys() - set(names)):
        raise InvalidRequestError(f"{name} has the options {names}, not {unknown}")
    common = {"candidates": candidates, "iterations": iterations}
    chosen = {n: value for n, value in common.items() if value is not None and n in names}
    options = options_class(**{**chosen, **{n: _number(value) for n, value in values.items()}})
    check(options)
    return options


def _number(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def is_exhaustive(space: ActionSpace, horizon: int, options: Any) -> bool:
    """Return whether all sequences are as few as the options' candidates."""
    total: int = options.candidates * options.iterations
    return space.sequences(horizon) <= total


def planner_of(
    name: str,
    space: ActionSpace,
    horizon: int,
    options: Any,
    uniform: Uniform,
    warm: Actions | None = None,
) -> Planner:
    """Return the planner `name`, or exhaustive search if that needs no more candidates."""
    if is_exhaustive(space, horizon, options):
        return exhaustive(space, horizon, warm)
    return PLANNERS[name].plan(space, horizon, options, uniform, warm)
