"""What the answers have in common: arrays of so many axes, and fields that may be absent."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import CoreSchema

from dreamserve.api.arrays import ANYTHING, INTEGER, NUMBER, Array, ArrayField, nested


def array(item: CoreSchema, axes: int) -> ArrayField:
    """Return how an array of so many axes is told to pydantic; it is not checked again."""
    return ArrayField(lambda value: value, nested(item, axes))


Latent = Annotated[Array, array(NUMBER, 1)]
Frame = Annotated[Array, array(INTEGER, 3)]
Tensor = Annotated[Array, ArrayField(lambda value: value, NUMBER, nested(ANYTHING, 1))]


def _absent_not_null(schema: dict[str, Any]) -> None:
    """Say that an optional field is left out rather than sent as null."""
    for field in schema.get("properties", {}).values():
        if field.get("default", 0) is None:
            del field["default"]
            field["anyOf"] = [form for form in field["anyOf"] if form != {"type": "null"}]


class Answer(BaseModel):
    """A response body."""

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, json_schema_extra=_absent_not_null
    )
