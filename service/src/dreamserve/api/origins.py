"""Which web pages may drive this server: those of its own origin, and those that a setting lists.

A browser lets any page send simple requests to any server, localhost too, and open WebSockets to
it; but it says in the header Origin where the page is from. Other clients send none.
"""

from urllib.parse import urlsplit

from dreamserve_protocol.errors import ForbiddenOriginError

_SHOWN = 80


def check_origin(headers: dict[bytes, bytes], allowed: frozenset[str]) -> None:
    """Raise ForbiddenOriginError for a page of another origin than the server's own.

    A proxy that changes Host is expected to say the original one in X-Forwarded-Host.
    """
    if b"origin" not in headers:
        return
    origin = headers[b"origin"].decode("latin-1")
    if origin in allowed or "*" in allowed:
        return
    own = {headers.get(name, b"").decode("latin-1") for name in (b"host", b"x-forwarded-host")}
    if urlsplit(origin).netloc not in own - {""}:
        raise ForbiddenOriginError(
            f"web pages of {origin[:_SHOWN]} may not use this server;"
            " DREAMSERVE_ALLOWED_ORIGINS lists those that may"
        )
