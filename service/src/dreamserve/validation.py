"""Validation of requests by the protocol's declarations.

validated(StepRequest, {"session_id": "a", "action": 1})    # from a body's fields
validated(StepRequest, StepRequest("a", [0.5, 0.1]))        # from a request: arrays are converted
"""

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dreamserve_protocol.errors import (
    CallerError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
)

M = TypeVar("M")
Validate = Callable[[Any], Any]

_SHOWN_ERRORS = 5
_SHOWN_CHARACTERS = 80
_validators: dict[type, Validate] = {}


def validated(kind: type[M], fields: Any) -> M:
    """Return a valid message of `kind` from a dict of fields, or from an unchecked message.

    Raises InvalidRequestError, InvalidActionError or NotFiniteInputError, which say what was wrong,
    where, and what would be valid.
    """
    message: M = validator(kind)(fields)
    return message


def validator(kind: type) -> Validate:
    """Return the function that validates messages of `kind`; it raises as `validated`."""
    if kind not in _validators:
        _validators[kind] = _new_validator(kind)
    return _validators[kind]


def text_validator(kind: type) -> Validate:
    """Return the same for fields that are all text, such as those of a query string."""
    return _checked(TypeAdapter(kind).validate_strings)


def _new_validator(kind: Any) -> Validate:
    return _checked(TypeAdapter(kind).validate_python)


def _checked(validate: Validate) -> Validate:
    def checked(fields: Any) -> Any:
        try:
            return validate(fields)
        except ValidationError as error:
            raise problem_in(error) from None

    return checked


def problem_in(error: ValidationError) -> CallerError:
    """Return the protocol's error for a ValidationError, with at most _SHOWN_ERRORS messages."""
    errors = error.errors(include_url=False, include_input=False)
    lines = [_one_line(details) for details in errors[:_SHOWN_ERRORS]]
    if len(errors) > len(lines):
        lines.append(f"and {len(errors) - len(lines)} more")
    causes = [details.get("ctx", {}).get("error") for details in errors]
    not_finite = any(details["type"] == "finite_number" for details in errors)
    if not_finite or any(isinstance(cause, NotFiniteInputError) for cause in causes):
        return NotFiniteInputError("; ".join(lines))
    if all(isinstance(cause, InvalidActionError) for cause in causes):
        return InvalidActionError("; ".join(lines))
    return InvalidRequestError("; ".join(lines))


def _one_line(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])[:_SHOWN_CHARACTERS]
    message = error["msg"]
    if error["type"] == "unexpected_keyword_argument":
        message = "is not a known field"
    elif error["type"] == "value_error":
        message = str(error["ctx"]["error"])
    return f"{where}: {message}" if where else message
