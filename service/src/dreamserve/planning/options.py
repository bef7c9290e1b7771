"""What can be chosen about a planner: a frozen dataclass for each, with its fields' bounds.

check(Cem(candidates=0))  # InvalidRequestError: candidates must be at least 1, not 0
bounds(Cem)["momentum"]   # Bounds(least=0, most=1), for a schema
"""

from dataclasses import Field, dataclass, field, fields
from math import inf
from numbers import Integral, Real
from typing import Any, NamedTuple

from dreamserve_protocol.errors import InvalidRequestError, NotFiniteInputError


class Bounds(NamedTuple):
    """The least and the most that a field may be; both are allowed."""

    least: float
    most: float = inf


@dataclass(frozen=True, slots=True)
class Options:
    """What all planners' options are. Planners take them as checked."""


def within(default: float, least: float, most: float = inf) -> Any:
    """Declare a field of Options, with its default and its bounds."""
    return field(default=default, metadata={"bounds": Bounds(least, most)})


def bounds(options: Options | type[Options]) -> dict[str, Bounds]:
    """Return the bounds of every field by its name."""
    return {one.name: one.metadata["bounds"] for one in fields(options)}


def check(options: Options) -> None:
    """Raise InvalidRequestError or NotFiniteInputError, which say the field and what is right."""
    for one in fields(options):
        _check_field(one, getattr(options, one.name))


def _check_field(one: Field[Any], value: Any) -> None:
    kind, called = (Integral, "an integer") if one.type is int else (Real, "a number")
    if isinstance(value, bool) or not isinstance(value, kind):
        raise InvalidRequestError(f"{one.name} must be {called}, not {value!r}")
    if value != value or abs(value) == inf:  # isfinite refuses integers too large for a float
        raise NotFiniteInputError(f"{one.name} must be a finite number, not {value}")
    least, most = one.metadata["bounds"]
    if not least <= value <= most:
        bounds = f"at least {least}" if most == inf else f"within {least} and {most}"
        raise InvalidRequestError(f"{one.name} must be {bounds}, not {value}")
