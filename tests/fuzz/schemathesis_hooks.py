"""Teaches schemathesis the server's msgpack; loaded by its `hooks` setting."""

import math
from base64 import b64encode
from typing import Any

import msgpack
import numpy as np
import schemathesis
from schemathesis import Case, DeserializationContext, Response, SerializationContext

from dreamserve_protocol.arrays import unpack

MSGPACK = "application/msgpack"
LARGEST, SMALLEST = 2**64 - 1, -(2**63)  # integers that msgpack has


def packable(value: Any) -> Any:
    """Return a generated value in the form that msgpack can write: large integers as floats."""
    if isinstance(value, dict):
        return {name: packable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [packable(one) for one in value]
    if type(value) is int and not SMALLEST <= value <= LARGEST:
        return math.copysign(1e300, value)
    return value


def plain(value: Any) -> Any:
    """Return an unpacked value as in JSON: arrays are lists, files base64, and NaN is null."""
    if isinstance(value, dict):
        if value.keys() == {"dtype", "shape", "data"}:
            return plain(np.asarray(unpack(value)).tolist())
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return None if isinstance(value, float) and math.isnan(value) else value


@schemathesis.serializer(MSGPACK)
def to_msgpack(_: SerializationContext, value: Any) -> bytes:
    """Return a body as msgpack."""
    if isinstance(value, bytes):
        return value
    packed: bytes = msgpack.packb(packable(value), unicode_errors="surrogatepass")
    return packed


@schemathesis.deserializer(MSGPACK)
def from_msgpack(_: DeserializationContext, response: Response) -> Any:
    """Return the fields of a response in msgpack."""
    return plain(msgpack.unpackb(response.content))


@schemathesis.hook
def before_call(_: Any, case: Case, __: dict[str, Any]) -> None:
    """Request half of the responses as msgpack; which half follows from the request.

    A missing `session_id` may be in the header, which the schema of a body cannot say: without it,
    a body that lacks one is invalid.
    """
    if isinstance(case.body, dict) and "session_id" not in case.body:
        case.headers.pop("x-session-id", None)
    if len(repr(case.body)) % 2:
        case.headers["Accept"] = MSGPACK
