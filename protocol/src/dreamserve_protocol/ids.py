"""Ids of sessions, and the replica that they lead to.

`ROUTE--SUFFIX` is an id of the session family ROUTE; an id without `--` is a family of its own. A
load balancer hashes the route, so a family lives on one replica: the rows of a batch, or a dream
and its forks. The id alone tells where a session is.
"""

import re
from secrets import token_hex

SEPARATOR = "--"
_RANDOM_BYTES = 16  # of an id in all: those of different clients must not meet
_SUFFIX_BYTES = 8  # within a family
_VALID = re.compile(r"[A-Za-z0-9_-]{1,128}")
MAX_ROUTE = 128 - len(SEPARATOR) - 2 * _SUFFIX_BYTES  # characters


def route_of(session_id: str) -> str:
    """Return the route in a session's id: what precedes the first `--`, or all of it."""
    end = session_id.find(SEPARATOR, 1)
    return session_id if end < 0 else session_id[:end]


def new_route() -> str:
    """Return a random route."""
    return token_hex(_RANDOM_BYTES - _SUFFIX_BYTES)


def new_id(route: str | None = None) -> str:
    """Return a random id; with a route, of a session that lives where that family does.

    The route of an existing id can be longer than MAX_ROUTE; the new id then has one of its own.
    """
    if route is None or len(route) > MAX_ROUTE:
        return token_hex(_RANDOM_BYTES)
    return f"{route}{SEPARATOR}{token_hex(_SUFFIX_BYTES)}"


def is_valid(session_id: object) -> bool:
    """Return whether a session may have this id."""
    return isinstance(session_id, str) and _VALID.fullmatch(session_id) is not None


def is_route(route: object) -> bool:
    """Return whether ids can be made with this route."""
    return is_valid(route) and len(str(route)) <= MAX_ROUTE and route_of(str(route)) == route
