"""Markers for the annotations of fields: descriptions, ranges, strictness.

A request or result is a plain dataclass whose fields are `Annotated` with these markers. The
service validates with pydantic, which calls the markers' methods; only these import pydantic.
"""

from dataclasses import dataclass
from types import GenericAlias
from typing import Any, ClassVar, Generic, TypeVar, get_args

R_co = TypeVar("R_co", covariant=True)


class Message:
    """Base of all requests and results: strict types, no unknown fields, finite numbers."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]  # every message is a dataclass
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
        "arbitrary_types_allowed": True,
        "revalidate_instances": "always",
    }

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Accept a dict for the dataclass itself, while its fields stay strict."""
        return {**handler(source), "strict": False}


class Request(Message, Generic[R_co]):
    """A verb's request; R is its result."""

    __slots__ = ()

    def may_be_resent(self) -> bool:
        """Return whether the request is idempotent: sent twice, it has the effect of once."""
        return True


@dataclass(frozen=True, slots=True)
class Doc:
    """Describe a field, in the OpenAPI document and in the documentation's tables."""

    text: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Add the description to the JSON schema."""
        described: dict[str, Any] = handler(schema)
        shape = described.get("description", "")  # from an array's marker
        described["description"] = f"{shape} {self.text}".lstrip()
        return described


@dataclass(frozen=True, slots=True)
class Range:
    """Bound a number, inclusively, by `least` and `most`."""

    least: float | None = None
    most: float | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Add the bounds to the number's schema."""
        bounds = {"ge": self.least, "le": self.most}
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        return {**handler(source), **given}


@dataclass(frozen=True, slots=True)
class Text:
    """Bound the length of a string, and match it with a pattern."""

    longest: int
    pattern: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Add the bounds to the string's schema."""
        bounds: dict[str, Any] = {"max_length": self.longest}
        if self.pattern is not None:
            bounds["pattern"] = self.pattern
        return {**handler(source), **bounds}


@dataclass(frozen=True, slots=True)
class Items:
    """Accept a list or another sequence, except a string, of at least `fewest` elements."""

    fewest: int = 0

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Read the elements into a list."""
        bounds = {"min_length": self.fewest, "fail_fast": True, "strict": False}
        return {**handler(GenericAlias(list, get_args(source))), **bounds}


@dataclass(frozen=True, slots=True)
class Keys:
    """Declare the keys that a dict may have, each with its JSON type and description."""

    known: dict[str, tuple[str, str]]

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Describe each key as an optional property."""
        properties = {
            name: {"type": kind, "description": text} for name, (kind, text) in self.known.items()
        }
        return {"type": "object", "properties": properties, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class ByKind:
    """A union of dataclasses, tagged by `kind`; a string of `short` stands for {"kind": …}."""

    short: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Build the tagged union."""
        from pydantic_core import core_schema

        kinds: list[Any] = [one for one in get_args(source) if isinstance(one, type)]
        names = [one.__dataclass_fields__["kind"].default for one in kinds]
        choices = dict(zip(names, map(handler.generate_schema, kinds), strict=True))
        tagged = core_schema.tagged_union_schema(
            choices,
            "kind",
            custom_error_type="kind",
            custom_error_message=f"kind must be one of {', '.join(names)}",
        )
        return core_schema.no_info_before_validator_function(_spelt_out, tagged)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Add the short form to the JSON schema, and require `kind`, which has a default here."""
        short, tagged = {"type": "string", "enum": list(self.short)}, handler(schema["schema"])
        for reference in tagged["oneOf"]:
            described = handler.resolve_ref_schema(reference)
            described["properties"]["kind"].pop("default", None)
            described["required"] = sorted({"kind", *described.get("required", ())})
        return {"anyOf": [short, tagged]}


def _spelt_out(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value
