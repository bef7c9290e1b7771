"""Values to bytes and back. JSON is the one form so far; another would change this file alone."""

import json
from typing import Any

import numpy as np

MEDIA_TYPE = "application/json"
PROBLEM_MEDIA_TYPE = "application/problem+json"


def encode(fields: dict[str, Any]) -> bytes:
    """Return the request body; fields that are None are left out, arrays become nested lists.

    Raises ValueError for NaN and infinity and TypeError for what JSON cannot carry, each naming
    the field.
    """
    present = {name: value for name, value in fields.items() if value is not None}
    return b"{" + b",".join(_member(*item) for item in present.items()) + b"}"


def _member(name: str, value: Any) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, default=_listed, separators=(",", ":"))
    except ValueError:
        raise ValueError(f"{name} must be finite, it holds NaN or infinity") from None
    except TypeError as error:
        raise TypeError(f"{name} cannot be sent: {error}") from None
    return f"{json.dumps(name)}:{text}".encode()


def _listed(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def decode(body: bytes) -> Any:
    """Return the value that an answer holds.

    Raises ValueError when it is not JSON.
    """
    return json.loads(body)
