"""Encoding and decoding of bodies, as JSON. Another format would change only this file."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamserve_protocol.errors import NotFiniteInputError
from dreamserve_protocol.markers import Message
from dreamserve_protocol.wire import fields_of

MEDIA_TYPE = "application/json"
PROBLEM_MEDIA_TYPE = "application/problem+json"


def encode(fields: Mapping[str, Any]) -> bytes:
    """Return the request body; arrays become nested lists, messages objects.

    Raises NotFiniteInputError for NaN and infinity and TypeError for what JSON cannot carry, each
    naming the field.
    """
    return b"{" + b",".join(_member(*item) for item in fields.items()) + b"}"


def _member(name: str, value: Any) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, default=_plain, separators=(",", ":"))
    except ValueError:
        raise NotFiniteInputError(f"{name} holds NaN or infinity; JSON has neither") from None
    except TypeError as error:
        raise TypeError(f"{name} cannot be sent: {error}") from None
    return f"{json.dumps(name)}:{text}".encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Message):
        return fields_of(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def decode(body: bytes) -> Any:
    """Return the value that a response holds.

    Raises ValueError when it is not JSON.
    """
    return json.loads(body)
