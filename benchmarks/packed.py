"""Sends batch requests of many sessions in msgpack."""

import http.client
import sys
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np

_TYPE = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}


def pack(body: dict[str, Any]) -> bytes:
    """Return a body in msgpack, with arrays packed."""
    packed: bytes = msgpack.packb(body, default=_array)
    return packed


def _array(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.tobytes()}


def post(port: int, path: str, content: bytes) -> dict[str, Any]:
    """Post one batch and return the result; exit if any row failed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, content, _TYPE)
        response = connection.getresponse()
        fields: dict[str, Any] = msgpack.unpackb(response.read())
    finally:
        connection.close()
    if response.status != 200 or fields["errors"]:
        sys.exit(f"POST {path} returned {response.status}: {str(fields)[:500]}")
    return fields


def step_body(ids: Sequence[str]) -> bytes:
    """Return the body of a step of these sessions in a Discrete world of three actions.

    It does not number the steps, so it can be sent repeatedly.
    """
    return pack({"session_ids": ids, "actions": np.arange(len(ids)) % 3})


def reset_sessions(port: int, ids: Sequence[str], rows: int = 1024) -> None:
    """Create or reset the sessions with these ids, `rows` per request."""
    for first in range(0, len(ids), rows):
        batch = ids[first : first + rows]
        seeds = np.arange(first, first + len(batch))
        post(port, "/reset/batch", pack({"session_ids": batch, "seeds": seeds}))
