"""Checks the Origin of web pages: the server's own and those that a setting lists are allowed.

A browser lets any page send simple requests and open WebSockets to any server, localhost included,
but sends the page's origin in the Origin header. Other clients send no such header.

A page's own host name can also resolve to 127.0.0.1 (DNS rebinding). A server that listens only on
loopback therefore accepts only this machine's names as its own origin.
"""

from ipaddress import ip_address

from dreamserve_protocol.errors import ForbiddenOriginError

_SHOWN = 80


def check_origin(headers: dict[bytes, bytes], allowed: frozenset[str], is_local: bool) -> None:
    """Raise ForbiddenOriginError if Origin is neither the server's own nor in `allowed`.

    `is_local`: whether the server listens on the loopback interface only. A proxy that changes Host
    must send the original one in X-Forwarded-Host.
    """
    if b"origin" not in headers:
        return
    origin = headers[b"origin"].decode("latin-1")
    if origin in allowed or "*" in allowed:
        return
    own = {headers.get(name, b"").decode("latin-1") for name in (b"host", b"x-forwarded-host")}
    host = origin.partition("://")[2]
    if host not in own - {""} or (is_local and not is_loopback(_without_port(host))):
        raise ForbiddenOriginError(
            f"web pages of {origin[:_SHOWN]} may not use this server;"
            " DREAMSERVE_ALLOWED_ORIGINS lists the allowed origins"
        )


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's loopback interface."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
