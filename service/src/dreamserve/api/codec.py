"""Bytes to values and back: JSON for people, msgpack for machines, the same fields in both."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

import msgpack
import numpy as np
import orjson
from starlette.exceptions import HTTPException

from dreamserve.errors import InvalidRequestError, NotFiniteInputError, WireError

JSON = "application/json"
MSGPACK = "application/msgpack"
_MSGPACK_NAMES = (MSGPACK, "application/x-msgpack", "application/vnd.msgpack")
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
_NOT_FINITE = re.compile(r"-?(NaN|Infinity|inf|nan)")


def decode(body: bytes, content_type: bytes) -> dict[str, Any]:
    """Return the object that `body` holds; an empty body is an empty object.

    Raises InvalidRequestError (saying where) or NotFiniteInputError, and HTTPException 415 for a
    media type that is neither JSON nor msgpack.
    """
    if not body:
        return {}
    value = _from_msgpack(body) if _is_msgpack(content_type) else _from_json(body)
    if not isinstance(value, dict):
        raise InvalidRequestError(f"the body must be an object, it is {_kind(value)}")
    return value


@lru_cache(maxsize=256)  # callers send few different ones
def _is_msgpack(content_type: bytes) -> bool:
    media_type = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if media_type in ("", JSON):
        return False
    if media_type in _MSGPACK_NAMES:
        return True
    shown = media_type[:80]
    raise HTTPException(415, f"Content-Type {shown} is not read here; send {JSON} or {MSGPACK}")


def _kind(value: Any) -> str:
    names = {
        list: "a list",
        str: "a string",
        bytes: "binary",
        bool: "a boolean",
        type(None): "null",
    }
    return names.get(type(value), "a number")


def _from_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        rest = error.doc[error.pos : error.pos + 9]
        if _NOT_FINITE.match(rest) or "infinity" in error.msg:
            where = f"line {error.lineno} column {error.colno}"
            raise NotFiniteInputError(f"body, {where}: numbers must be finite") from None
        raise InvalidRequestError(f"the body is not JSON: {error}") from None


def _from_msgpack(body: bytes) -> Any:
    try:
        return msgpack.unpackb(body)
    except ValueError as error:
        reason = str(error) or "nested too deeply or malformed"
        raise InvalidRequestError(f"the body is not msgpack: {reason}") from None


@lru_cache(maxsize=256)
def prefers_msgpack(accept: bytes) -> bool:
    """Tell whether the Accept header asks for msgpack; without one, JSON it is."""
    quality = {JSON: 0.0, MSGPACK: 0.0}
    for item in accept.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        name = MSGPACK if name in _MSGPACK_NAMES else name
        if name in quality:
            quality[name] = max(quality[name], _quality(parameters))
    return quality[MSGPACK] > 0 and quality[MSGPACK] >= quality[JSON]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q" and re.fullmatch(r"\d(\.\d*)?", value):
            return float(value)
    return 1.0


def encode(value: Any, as_msgpack: bool) -> bytes:
    """Return `value` (dicts, lists, scalars, numpy arrays) as bytes."""
    if as_msgpack:
        packed: bytes = msgpack.packb(value, default=_pack)
        return packed
    return orjson.dumps(value, default=_listed, option=_OPTIONS)


def as_fields(result: Any) -> dict[str, Any]:
    """Return a result, a dataclass with slots, as a dict without what was not asked for (None)."""
    kind: type = type(result)
    names, values = _fields_of(kind)
    pairs = zip(names, values(result), strict=True)
    return {name: value for name, value in pairs if value is not None}


def row_errors(errors: Mapping[int, WireError]) -> list[dict[str, Any]]:
    """Return the errors of a batch's rows as they are answered."""
    return [
        {"row": row, "code": error.code, "status": error.status, "detail": error.detail}
        for row, error in sorted(errors.items())
    ]


@cache
def _fields_of(kind: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """Return the names of a dataclass's fields, and what gets all their values at once."""
    names = tuple(field.name for field in fields(kind))
    return names, attrgetter(*names)


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"), copy=False)
        return {"dtype": little.dtype.str, "shape": list(value.shape), "data": little.tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value):
        return as_fields(value)
    raise TypeError(f"{type(value).__name__} has no msgpack form")


def _listed(value: Any) -> Any:
    """Catch what orjson's numpy support leaves, arrays that are not contiguous; and results."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if is_dataclass(value):
        return as_fields(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
