"""Decodes and encodes bodies: JSON or msgpack, with the same fields."""

import re
from binascii import b2a_base64
from dataclasses import is_dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgpack
import numpy as np
import orjson

from dreamserve.api.elements import MOST, Most, check
from dreamserve.api.pieces import json_in_pieces, msgpack_in_pieces
from dreamserve_protocol.batches import (
    DeleteBatchResult,
    ResetBatchResult,
    RowError,
    StepBatchResult,
)
from dreamserve_protocol.errors import (
    InvalidRequestError,
    NotFiniteInputError,
    UnsupportedMediaTypeError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetResult
from dreamserve_protocol.rollout import RolloutResult
from dreamserve_protocol.sample import SampleResult
from dreamserve_protocol.step import StepResult
from dreamserve_protocol.wire import fields_of, packed_form, with_png

JSON = "application/json"
MSGPACK = "application/msgpack"
_MSGPACK_NAMES = (MSGPACK, "application/x-msgpack", "application/vnd.msgpack")
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
_NOT_FINITE = re.compile(r"-?(NaN|Infinity|inf|nan)")
HEADER_BYTES = 1024  # of Accept and Content-Type, of which longer ones are not read to the end
_SHOWN = 80
_DETAIL = attrgetter("detail")

LARGE_RESULT_BYTES = 256 * 1024  # larger results are encoded in a thread
LARGE_PNG_BYTES = 64 * 1024  # of the frames: about half a millisecond, to decode or to encode
JSON_GROWTH = 5  # the most characters that a byte of an array takes as JSON
ITEM_BYTES = 128  # of an element of a list, beside its text
# Those that grow with the numbers in their requests.
LARGE_RESULTS = (SampleResult, RolloutResult, StepBatchResult, ResetBatchResult, DeleteBatchResult)


def decode(body: bytes, as_msgpack: bool, most: Most = MOST) -> dict[str, Any]:
    """Return the object that `body` contains.

    Raises InvalidRequestError and NotFiniteInputError, with the position, and TooLargeError for
    more than `most`.
    """
    check(body, as_msgpack, most)
    value = _from_msgpack(body) if as_msgpack else _from_json(body)
    if not isinstance(value, dict):
        raise InvalidRequestError(f"the body must be an object, it is {_kind(value)}")
    return value


def is_msgpack(content_type: bytes) -> bool:
    """Return whether a Content-Type is msgpack; false if it is JSON.

    Raises UnsupportedMediaTypeError for others, and for none: browsers let a web page send a body
    without a media type to any server without a CORS preflight.
    """
    return _is_msgpack(content_type[:HEADER_BYTES])


@lru_cache(maxsize=256)  # clients send few different ones
def _is_msgpack(content_type: bytes) -> bool:
    media_type = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if media_type == JSON:
        return False
    if media_type in _MSGPACK_NAMES:
        return True
    shown = (
        f"Content-Type {media_type[:_SHOWN]} is not supported"
        if media_type
        else ("the body has no Content-Type")
    )
    raise UnsupportedMediaTypeError(f"{shown}; send {JSON} or {MSGPACK}")


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


def prefers_msgpack(accept: bytes) -> bool:
    """Return whether the Accept header prefers msgpack; false, for JSON, if it is empty."""
    return _prefers_msgpack(accept[:HEADER_BYTES])


@lru_cache(maxsize=256)
def _prefers_msgpack(accept: bytes) -> bool:
    """Weigh both by the most specific range that names them (RFC 9110, 12.5.1).

    Of two of equal weight it is msgpack, if it is named itself, and not by a wildcard only.
    """
    quality: dict[str, float] = {}
    for item in accept.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        name = MSGPACK if name in _MSGPACK_NAMES else name
        quality[name] = max(quality.get(name, 0.0), _quality(parameters))
    any_kind = quality.get("application/*", quality.get("*/*", 0.0))
    wanted, other = quality.get(MSGPACK, any_kind), quality.get(JSON, any_kind)
    return wanted > other or (MSGPACK in quality and wanted == other > 0)


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q" and re.fullmatch(r"(0(\.\d*)?|1(\.0*)?)", value := value.strip()):
            return float(value)
    return 1.0


def wants_png(request: Request[Any]) -> bool:
    """Return whether a request asks for its frames as PNG files."""
    return getattr(request, "frame_format", None) == "png"


def encode(message: Any, as_msgpack: bool, png: bool = False) -> bytes:
    """Return a message, or a dict of its fields, as msgpack or JSON; `png`: its frames as files."""
    if png:
        value: Any = with_png(message)
    else:
        value = fields_of(message) if is_dataclass(message) else message
    return _to_msgpack(value) if as_msgpack else _to_json(value)


def encode_large(message: Any, as_msgpack: bool, png: bool = False) -> bytes:
    """Return what `encode` returns, and let other threads run meanwhile."""
    value = with_png(message) if png else message
    if as_msgpack:
        return msgpack_in_pieces(value, _to_msgpack)
    return json_in_pieces(value, _to_json)


def _to_msgpack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, default=packed_form)
    return packed


def _to_json(value: Any) -> bytes:
    return orjson.dumps(value, default=_json_default, option=_OPTIONS)


def _json_default(value: Any) -> Any:
    """Convert the types that orjson does not: messages, files, arrays that are not contiguous."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if is_dataclass(value):
        return fields_of(value)
    if isinstance(value, bytes):
        return b2a_base64(value, newline=False).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def is_large(count: int, png: bool = False) -> bool:
    """Return whether a result of `count` bytes should be encoded in a thread; `png`: with files."""
    return count > (LARGE_PNG_BYTES if png else LARGE_RESULT_BYTES)


def bytes_of(request: Request[Any] | None, result: Any) -> int:
    """Return about the size of a result's arrays and lists; 0 if it can be neither large nor long.

    A step that includes nothing is the smallest result, and has the least time to be measured.
    """
    if type(result) in (StepResult, ResetResult) and not getattr(request, "include", ()):
        return 0
    return _bytes_in(result)


def _bytes_in(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, list):
        return ITEM_BYTES * len(value) + _text_in(value)
    if is_dataclass(value):
        value = fields_of(value)
    return sum(map(_bytes_in, value.values())) if isinstance(value, dict) else 0


def _text_in(items: list[Any]) -> int:
    """Return the characters in a list of ids, or of the errors of rows."""
    if items and isinstance(items[0], RowError):
        return sum(map(len, map(_DETAIL, items)))
    return sum(map(len, items)) if items and isinstance(items[0], str) else 0
