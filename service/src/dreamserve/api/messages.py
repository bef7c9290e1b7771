"""The fields of a stream's message: its id, its time and the request that it holds."""

import re
from contextlib import suppress
from itertools import islice
from math import inf
from typing import Any

import msgpack
import orjson

from dreamserve.api import codec
from dreamserve.api.elements import SMALL_BYTES
from dreamserve.validation import validator
from dreamserve_protocol.errors import CallerError, InvalidRequestError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.pictures import PngBounds
from dreamserve_protocol.verbs import VERBS

MAX_ID = 128  # characters of a string id
_SHOWN = 80
VALIDATORS = {verb.name: validator(verb.request) for verb in VERBS}
_KEYS = {"id", "verb", "body", "timeout_s"}

# The beginning of a message whose first field is its id; of msgpack, with the first byte of that.
_JSON_ID = re.compile(rb'\s*{\s*"id"\s*:\s*(-?[0-9]{1,20}|"[^"\\]{0,512}")\s*[,}]')
_MSGPACK_ID = re.compile(rb"[\x81-\x8f]\xa2id([^\x80-\x9f\xdc-\xdf])", re.DOTALL)

Id = int | str | None


def id_of(fields: dict[str, Any]) -> Id:
    """Return a request's id. Raises InvalidRequestError."""
    given = fields.get("id")
    if type(given) is int or (type(given) is str and len(given) <= MAX_ID):
        return given
    raise InvalidRequestError(
        f"id must be an integer of at most 64 bits, or a string of at most {MAX_ID} characters"
    )


def id_in(raw: bytes, as_msgpack: bool) -> Id:
    """Return the id of a message that is not served; of a large one, only if it is the first field.

    None if it has no valid id. It takes little time, whatever the message holds.
    """
    with suppress(CallerError, ValueError, msgpack.UnpackException):
        if len(raw) <= SMALL_BYTES:
            return id_of(codec.decode(raw, as_msgpack))
        begins = (_MSGPACK_ID if as_msgpack else _JSON_ID).match(raw[:SMALL_BYTES])
        if begins is not None and as_msgpack:
            unpacker = msgpack.Unpacker()
            unpacker.feed(raw[begins.start(1) : SMALL_BYTES])
            return id_of({"id": unpacker.unpack()})
        if begins is not None:
            return id_of({"id": orjson.loads(begins[1])})
    return None


def timeout_s_of(fields: dict[str, Any]) -> float:
    """Return the seconds after which the sender gives up. Raises InvalidRequestError."""
    given = fields.get("timeout_s", inf)
    if type(given) in (int, float) and given > 0:
        return float(given)
    raise InvalidRequestError("timeout_s must be a positive number of seconds")


def request_of(fields: dict[str, Any], bounds: PngBounds) -> Request[Any]:
    """Return the request in a message. Raises as validation does."""
    unknown = (str(key)[:_SHOWN] for key in fields if key not in _KEYS)  # of msgpack: any type
    if named := list(islice(unknown, 5)):
        raise InvalidRequestError(f"a message has id, verb, body and timeout_s, not {named}")
    name, body = fields.get("verb"), fields.get("body", {})
    if not isinstance(name, str) or name not in VALIDATORS:
        raise InvalidRequestError(f"verb must be one of {', '.join(VALIDATORS)}")
    if not isinstance(body, dict):
        raise InvalidRequestError("body must be an object: the verb's fields")
    request: Request[Any] = VALIDATORS[name](body, bounds)
    return request
