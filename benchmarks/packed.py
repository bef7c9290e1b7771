"""Many sessions in one request, in msgpack: what the batch routes take and answer."""

import http.client
import sys
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np

_TYPE = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}


def pack(body: dict[str, Any]) -> bytes:
    """Return a body's bytes, its arrays packed."""
    packed: bytes = msgpack.packb(body, default=_array)
    return packed


def _array(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.tobytes()}


def post(port: int, path: str, content: bytes) -> dict[str, Any]:
    """Return the answer to one batch; every row of it must be good."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, content, _TYPE)
        answer = connection.getresponse()
        fields: dict[str, Any] = msgpack.unpackb(answer.read())
    finally:
        connection.close()
    if answer.status != 200 or fields["errors"]:
        sys.exit(f"POST {path} was answered {answer.status}: {str(fields)[:500]}")
    return fields


def step_body(ids: Sequence[str]) -> bytes:
    """Return a step of these sessions in a Discrete world of three actions.

    It numbers no steps, so it may be sent again and again.
    """
    return pack({"session_ids": ids, "actions": np.arange(len(ids)) % 3})


def begin(port: int, ids: Sequence[str], rows: int = 1024) -> None:
    """Begin sessions of these ids, or start them over, `rows` in a request."""
    for first in range(0, len(ids), rows):
        some = ids[first : first + rows]
        seeds = np.arange(first, first + len(some))
        post(port, "/reset/batch", pack({"session_ids": some, "seeds": seeds}))
