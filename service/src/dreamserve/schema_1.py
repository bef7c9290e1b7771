"""Converts a manifest of schema 1, which knows frames and Gaussian mixtures only."""

from collections.abc import Mapping
from typing import Any

_NEW_IN_2 = frozenset(
    ("observation", "head", "encode_memory", "has_decode", "has_policy", "signals")
)


def convert_schema_1(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of schema 2 that those of schema 1 stand for.

    Raises ValueError for fields that it lacks.
    """
    if unknown := sorted(_NEW_IN_2 & fields.keys()):
        raise ValueError(f"{unknown[0]} is not a field of schema 1")
    converted = {**fields, "schema_version": 2}
    if isinstance(frame := converted.pop("frame", None), dict):
        converted["observation"] = {"kind": "frame", **frame}
    if isinstance(mixture := converted.pop("mixture", None), dict):
        form = {"form": mixture["head"]} if "head" in mixture else {}
        others = {name: value for name, value in mixture.items() if name != "head"}
        converted["head"] = {"kind": "gaussian_mixture", **form, **others}
    return converted
