"""Planners' options: a frozen dataclass for each planner, with the bounds of its fields.

check(Cem(candidates=0))  # InvalidRequestError: candidates must be at least 1, not 0
bounds(Cem)["momentum"]   # Bounds(least=0, most=1), for a schema
"""

from dataclasses import Field, dataclass, field, fields
from math import inf
from numbers import Integral, Real
from typing import Any, NamedTuple

from dreamserve_protocol.errors import InvalidRequestError, NotFiniteInputError


class Bounds(NamedTuple):
    """The smallest and the largest value of a field, both inclusive."""

    least: float
    most: float = inf


@dataclass(frozen=True, slots=True)
class Options:
    """Base class of planners' options. Planners expect options that passed `check`."""


def within(default: float, least: float, most: float = inf) -> Any:
    """Return a dataclass field of Options with this default and these bounds."""
    return field(default=default, metadata={"bounds": Bounds(least, most)})


def bounds(options: Options | type[Options]) -> dict[str, Bounds]:
    """Return the bounds of every field by its name."""
    return {option.name: option.metadata["bounds"] for option in fields(options)}


def check(options: Options) -> None:
    """Raise InvalidRequestError or NotFiniteInputError for the first value that is not allowed."""
    for option in fields(options):
        _check_option(option, getattr(options, option.name))


def _check_option(option: Field[Any], value: Any) -> None:
    kind, noun = (Integral, "an integer") if option.type is int else (Real, "a number")
    if isinstance(value, bool) or not isinstance(value, kind):
        raise InvalidRequestError(f"{option.name} must be {noun}, not {value!r}")
    if value != value or abs(value) == inf:  # math.isfinite raises for very large integers
        raise NotFiniteInputError(f"{option.name} must be a finite number, not {value}")
    least, most = option.metadata["bounds"]
    if not least <= value <= most:
        bounds = f"at least {least}" if most == inf else f"within {least} and {most}"
        raise InvalidRequestError(f"{option.name} must be {bounds}, not {value}")
