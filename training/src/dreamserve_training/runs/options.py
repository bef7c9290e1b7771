"""Options that are checked when they are made."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Self, get_type_hints

import numpy as np
from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
AtLeastZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]


# Metadata of a field that says where or on what a run computes, not what comes out. Records, and
# what a stage is made of, leave it out, so that a run can go on elsewhere.
PLACE = {"place": True}


@dataclass(frozen=True)
class Options:
    """Base of frozen dataclasses of options. A value outside its annotation raises ValueError.

    A number is kept as its annotation says: 1 of a float is 1.0, in figures' names, too.
    """

    def __post_init__(self) -> None:
        for name, check in _checks(type(self)).items():  # type: ignore[arg-type]  # hashable
            value = getattr(self, name)
            plain = value.item() if isinstance(value, np.generic) else value
            try:
                object.__setattr__(self, name, check.validate_python(plain, strict=True))
            except ValidationError as error:
                reason = _reason(error)
                raise ValueError(f"{type(self).__name__}: {name} {reason}, not {value!r}") from None

    @classmethod
    def of(cls, options: "Self | Mapping[str, Any]") -> Self:
        """Return `options` as this class. Unknown names raise ValueError, which lists them."""
        if isinstance(options, cls):
            return options
        if not isinstance(options, Mapping):
            given = type(options).__name__
            raise ValueError(f"options must be {cls.__name__} or a mapping, not {given}")
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise ValueError(f"unknown training options {unknown}; known options: {sorted(known)}")
        return cls(**options)


def _reason(error: ValidationError) -> str:
    """Return what a value must be: one thing, or one of several kinds."""
    messages = [
        part["msg"].replace("Input should", "must").replace("Value should", "must")
        for part in error.errors()
    ]
    where = {part["loc"][-1:] for part in error.errors()}
    kinds = messages if len(where) == len(messages) else messages[:1]
    return " or ".join(dict.fromkeys(kinds))


@cache
def _checks(kind: type) -> dict[str, TypeAdapter[Any]]:
    return {
        name: _adapter(hint) for name, hint in get_type_hints(kind, include_extras=True).items()
    }


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a type with a configuration of its own
        return TypeAdapter(hint)
