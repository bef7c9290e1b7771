"""Encoding and decoding of bodies: msgpack with packed arrays, or JSON with nested lists.

A frame may also be a PNG file: for users its bytes, in a body `{"png": file}`.

Another format would be another codec here, and nothing else would change.
"""

import json
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgpack
import numpy as np

from dreamserve_client.errors import ConfigurationError
from dreamserve_protocol.arrays import DTYPES, pack, unpack
from dreamserve_protocol.errors import CallerError, InvalidRequestError, NotFiniteInputError
from dreamserve_protocol.markers import Message
from dreamserve_protocol.wire import fields_of

Encoding = Literal["msgpack", "json"]
_WITH_BYTES = ({"png"}, {"dtype", "shape", "data"})  # keys of objects on the wire
Fields = Mapping[str, Any]
PROBLEM_MEDIA_TYPE = "application/problem+json"
# What reading raises for what is no response of dreamserve's.
UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Codec:
    """One format of bodies; `name` is what users choose it by."""

    name: Encoding
    media_type: str
    _write: Callable[[Any], bytes]
    _read: Callable[[bytes], Any]

    def encode(self, document: Fields, fields: Fields | None = None) -> bytes:
        """Return the bytes of a document, whose user's part is `fields`; default: all of it.

        Raises InvalidRequestError for what the format cannot carry, and NotFiniteInputError for NaN
        and infinity where it has neither; both name the field.
        """
        try:
            return self._write(document)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._refusal(document if fields is None else fields, error) from None

    def decode(self, body: bytes) -> dict[str, Any]:
        """Return the fields that a body holds. Raises one of UNREADABLE if it holds none."""
        fields = self._read(body)
        if not isinstance(fields, dict):
            raise TypeError(f"{type(fields).__name__} is no object of fields")
        return fields

    def _refusal(self, fields: Fields, error: Exception) -> CallerError:
        """Return the error that names the first field that cannot be written."""
        if not isinstance(fields, Mapping):
            return InvalidRequestError(f"a body must be an object of fields: {error}")
        for name, value in fields.items():
            try:
                self._write(value)
            except ValueError as refused:
                if "JSON compliant" in str(refused):
                    return NotFiniteInputError(f"{name} holds NaN or infinity; JSON has neither")
                return InvalidRequestError(f"{name} cannot be sent: {refused}")
            except (TypeError, OverflowError, RecursionError) as refused:
                return InvalidRequestError(f"{name} cannot be sent: {refused}")
        return InvalidRequestError(f"the request cannot be sent: {error}")


def codec_of(encoding: str) -> Codec:
    """Return the codec of that name. Raises ConfigurationError."""
    if encoding not in CODECS:
        names = " or ".join(repr(name) for name in CODECS)
        raise ConfigurationError(f"encoding must be {names}, it is {encoding!r}")
    return CODECS[encoding]


def codec_for(media_type: str) -> Codec:
    """Return the codec that reads a response of a media type; JSON, unless it is msgpack."""
    return MSGPACK if "msgpack" in media_type else JSON


def listed(value: Any) -> Any:
    """Return a document with its arrays as nested lists, packed ones too, so that JSON holds it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list):
        return [listed(one) for one in value]
    if isinstance(value, dict):
        if value.keys() == {"dtype", "shape", "data"}:
            return unpack(value).tolist()
        return {name: listed(one) for name, one in value.items()}
    return value


def _packed(value: Any) -> Any:
    """Return what msgpack writes for a value that it does not know."""
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return value.item()
        return pack(value) if value.dtype.newbyteorder("<").str in DTYPES else value.tolist()
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, Message):
        return _marked(fields_of(value))
    if isinstance(value, int):
        raise TypeError("an integer has at most 64 bits")
    raise TypeError(f"{type(value).__name__} has no msgpack form")


def _to_msgpack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(_marked(value), default=_packed)
    return packed


def _marked(value: Any) -> Any:
    """Return fields in which a list of arrays is one array, and bytes are marked as PNG files."""
    if isinstance(value, bytes):
        return {"png": value}
    if isinstance(value, Mapping):
        if value.keys() in _WITH_BYTES:
            return value
        return {name: _marked(one) for name, one in value.items()}
    if isinstance(value, list | tuple) and value and isinstance(value[0], bytes | Mapping):
        return [_marked(one) for one in value]
    if isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray):
        try:
            return np.array(value)
        except ValueError:  # of different shapes: the server says so
            return [one.tolist() if isinstance(one, np.ndarray) else one for one in value]
    return value


def _to_json(value: Any) -> bytes:
    text = json.dumps(_marked(value), allow_nan=False, default=_plain, separators=(",", ":"))
    return text.encode()


def _plain(value: Any) -> Any:
    """Return what JSON writes for a value that it does not know."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Message):
        return _marked(fields_of(value))
    if isinstance(value, bytes):
        return b2a_base64(value, newline=False).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")


MSGPACK = Codec("msgpack", "application/msgpack", _to_msgpack, msgpack.unpackb)
JSON = Codec("json", "application/json", _to_json, json.loads)
CODECS: dict[str, Codec] = {codec.name: codec for codec in (MSGPACK, JSON)}
