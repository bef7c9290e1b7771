"""Validation of requests by the protocol's declarations.

validated(StepRequest, {"session_id": "a", "action": 1})    # from a body's fields
validated(StepRequest, StepRequest("a", [0.5, 0.1]))        # from a request: arrays are converted
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from dreamserve_protocol.errors import (
    CallerError,
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
)
from dreamserve_protocol.markers import Message
from dreamserve_protocol.pictures import PngBounds

M = TypeVar("M")
R = TypeVar("R", bound=Message)
DEFAULT = PngBounds()
Validate = Callable[[Any, PngBounds], Any]

_SHOWN_ERRORS = 5
_SHOWN_CHARACTERS = 80
_MOST_DEPTH = 8  # of a request's integers and objects
MOST_KEYS = 1000  # of an object: signals, tensors and options have names of the server's own
_NO_PART = object()
_validators: dict[type, Validate] = {}


def validated(kind: type[M], fields: Any, bounds: PngBounds = DEFAULT) -> M:
    """Return a valid message of `kind` from a dict of fields, or from an unchecked message.

    Raises InvalidRequestError, InvalidActionError or NotFiniteInputError, which say what was wrong,
    where, and what would be valid; and TooLargeError for PNG files beyond the bounds.
    """
    message: M = validator(kind)(fields, bounds)
    return message


def plain(request: R) -> R:
    """Return a request with Python's numbers in place of NumPy's, as a body has them.

    Arrays without axes are such numbers, too. Those in its parts and objects are replaced as well.
    """
    fields = request.__dataclass_fields__
    changed = {}
    for name in fields:
        value = getattr(request, name)
        if (number := _plain(value)) is not value:
            changed[name] = number
    return replace(request, **changed) if changed else request


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if isinstance(value, Message):
        return plain(value)
    if type(value) is dict and any(_plain(one) is not one for one in value.values()):
        return {name: _plain(one) for name, one in value.items()}
    return value


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


def _checked(validate: Callable[..., Any]) -> Validate:
    def checked(fields: Any, bounds: PngBounds) -> Any:
        if type(fields) is dict:
            _check_keys(fields)
        try:
            return validate(fields, context=bounds)
        except ValidationError as error:
            problem, again = problem_in(error, fields), _has_large_integer(error)
        # No ValidationError may be kept, as a local variable or a context: the garbage collector
        # does not look into it, and through its cause's traceback it holds this frame, with a body.
        if again:
            try:
                return validate(fields := _with_integers(fields), context=bounds)
            except ValidationError as error:
                problem = problem_in(error, fields)
        try:
            raise problem from None
        finally:
            del problem

    return checked


def _check_keys(fields: dict[Any, Any], where: tuple[Any, ...] = ()) -> None:
    """Raise InvalidRequestError for an object of more than MOST_KEYS.

    Of a wrong key or value in each, pydantic would make so many errors in one go that no other
    thread runs for long. Of a list, it makes only the first.
    """
    if len(fields) > MOST_KEYS:
        problem = f"an object has at most {MOST_KEYS} keys, not {len(fields)}"
        raise InvalidRequestError(f"{_path(where)}: {problem}" if where else problem)
    if len(where) >= _MOST_DEPTH:
        return
    for name, value in fields.items():
        if type(value) is dict:
            _check_keys(value, (*where, name))
        elif type(value) is list and value and type(value[0]) is dict:
            for i, one in enumerate(value):
                if type(one) is dict:
                    _check_keys(one, (*where, name, i))


def _path(where: Iterable[Any]) -> str:
    return ".".join(str(part) for part in where)[:_SHOWN_CHARACTERS]


def _with_integers(fields: Any, depth: int = 0) -> Any:
    """Return fields with integers where JSON had integers of more than 64 bits.

    The JSON parser makes floats of them. Now the error says the range of the field.
    """
    if isinstance(fields, dict) and depth < _MOST_DEPTH:
        return {name: _with_integers(value, depth + 1) for name, value in fields.items()}
    large = type(fields) is float and fields.is_integer() and abs(fields) >= 2**63
    return int(fields) if large else fields


def _has_large_integer(error: ValidationError) -> bool:
    """Return whether an integer was wanted somewhere, and such a float given."""
    found = error.errors(include_url=False, include_context=False)
    return any(map(_is_large_integer, found))


def _is_large_integer(details: Any) -> bool:
    """Return whether an integer was wanted, and such a float given."""
    return details["type"] == "int_type" and type(_with_integers(details["input"])) is int


def problem_in(error: ValidationError, fields: Any) -> CallerError:
    """Return the protocol's error for a ValidationError, with at most _SHOWN_ERRORS messages."""
    errors = error.errors(include_url=False, include_input=False)
    shown: dict[str, list[str]] = {}  # by field: of a union, each form has an error
    for details in errors[:_SHOWN_ERRORS]:
        where = _path(_place_in(fields, details))
        shown.setdefault(where, []).append(_message(details))
    lines = [f"{where}: {', or: '.join(messages)}" for where, messages in shown.items() if where]
    lines += shown.get("", ())
    if len(errors) > _SHOWN_ERRORS:
        lines.append(f"and {len(errors) - _SHOWN_ERRORS} more")
    causes = [details.get("ctx", {}).get("error") for details in errors]
    not_finite = any(details["type"] == "finite_number" for details in errors)
    if not_finite or any(isinstance(cause, NotFiniteInputError) for cause in causes):
        return NotFiniteInputError("; ".join(lines))
    if all(isinstance(cause, InvalidActionError) for cause in causes):
        return InvalidActionError("; ".join(lines))
    return InvalidRequestError("; ".join(lines))


def _place_in(fields: Any, error: Any) -> list[Any]:
    """Return the place of an error in the fields, without pydantic's names of a union's forms."""
    place: list[Any] = []
    is_missing = error["type"] == "missing"  # then the last part is not there, and yet a field
    for part in error["loc"][:-1] if is_missing else error["loc"]:
        inner = _part_of(fields, part)
        if inner is not _NO_PART:
            place.append(part)
            fields = inner
    return [*place, error["loc"][-1]] if is_missing else place


def _part_of(value: Any, part: Any) -> Any:
    if isinstance(value, dict):
        return value.get(part, _NO_PART)
    if isinstance(value, Message):
        return getattr(value, part) if part in value.__dataclass_fields__ else _NO_PART
    is_place = isinstance(value, Sequence) and isinstance(part, int) and part < len(value)
    return value[part] if is_place else _NO_PART


def _message(error: Any) -> str:
    if error["type"] == "unexpected_keyword_argument":
        return "is not a known field"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    is_object = error["type"] in ("dataclass_type", "model_attributes_type")
    return "Input should be an object" if is_object else str(error["msg"])
