"""How long the client of an HTTP request waits for its response, as it says in a header."""

from math import inf, nan

from dreamserve.api.bodies import Headers
from dreamserve_protocol.errors import InvalidRequestError


def timeout_s_of(headers: Headers) -> float:
    """Return the seconds after which the caller gives up. Raises InvalidRequestError."""
    given = headers.get(b"x-request-timeout")
    if given is None:
        return inf
    try:
        timeout_s = float(given)
    except ValueError:
        timeout_s = nan
    if not 0 < timeout_s < inf:
        raise InvalidRequestError(
            f"x-request-timeout must be a positive number of seconds, not {given[:40]!r}"
        )
    return timeout_s
