"""The fields of a stream's message: its id, its time and the request that it holds."""

from math import inf
from typing import Any

from dreamserve.validation import validator
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.pictures import PngBounds
from dreamserve_protocol.verbs import VERBS

MAX_ID = 128  # characters of a string id
VALIDATORS = {verb.name: validator(verb.request) for verb in VERBS}
_KEYS = {"id", "verb", "body", "timeout_s"}

Id = int | str | None


def id_of(fields: dict[str, Any]) -> Id:
    """Return a request's id. Raises InvalidRequestError."""
    given = fields.get("id")
    if type(given) is int or (type(given) is str and len(given) <= MAX_ID):
        return given
    raise InvalidRequestError(
        f"id must be an integer of at most 64 bits, or a string of at most {MAX_ID} characters"
    )


def timeout_s_of(fields: dict[str, Any]) -> float:
    """Return the seconds after which the sender gives up. Raises InvalidRequestError."""
    given = fields.get("timeout_s", inf)
    if type(given) in (int, float) and given > 0:
        return float(given)
    raise InvalidRequestError("timeout_s must be a positive number of seconds")


def request_of(fields: dict[str, Any], bounds: PngBounds) -> Request[Any]:
    """Return the request in a message. Raises as validation does."""
    if unknown := fields.keys() - _KEYS:
        named = sorted(map(str, unknown))[:5]  # keys of msgpack may have any type
        raise InvalidRequestError(f"a message has id, verb, body and timeout_s, not {named}")
    name, body = fields.get("verb"), fields.get("body", {})
    if not isinstance(name, str) or name not in VALIDATORS:
        raise InvalidRequestError(f"verb must be one of {', '.join(VALIDATORS)}")
    if not isinstance(body, dict):
        raise InvalidRequestError("body must be an object: the verb's fields")
    request: Request[Any] = VALIDATORS[name](body, bounds)
    return request
