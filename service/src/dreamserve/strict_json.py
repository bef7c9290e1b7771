"""Reads JSON of a stranger strictly.

It is an object, in UTF-8, without a name twice, NaN, infinity, integers beyond 64 bits, or a depth
that exhausts what reads it next. The caller bounds its size.
"""

import json
from math import isfinite
from typing import Any

_MAX_DEPTH = 32  # of lists and objects in each other


def parse(content: bytes) -> dict[str, Any]:
    """Return the object that the JSON text, in UTF-8, is. Raises ValueError."""
    try:
        fields = json.loads(
            content.decode(),
            object_pairs_hook=_object,
            parse_constant=_refused,
            parse_float=_finite,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"must be a JSON object, is {type(fields).__name__}")
    _check_depth(fields)
    return fields


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"{name!r} occurs twice in an object")
        fields[name] = value
    return fields


def _refused(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if not isfinite(number := float(text)):
        raise ValueError(f"{text[:40]} is too large for a float")
    return number


def _integer(text: str) -> int:
    number = int(text) if len(text) <= 20 else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{text[:40]} has more than 64 bits")
    return number


def _check_depth(fields: dict[str, Any]) -> None:
    level: list[Any] = [fields]
    for _ in range(_MAX_DEPTH):
        parts = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for part in parts for one in part if isinstance(one, dict | list)]
        if not level:
            return
    raise ValueError(f"is nested deeper than {_MAX_DEPTH} levels")
