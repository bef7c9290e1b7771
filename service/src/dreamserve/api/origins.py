"""Which web pages may drive this server: those of its own origin, and those that a setting lists.

A browser lets any page send simple requests to any server, localhost too, and open WebSockets to
it; but it says in the header Origin where the page is from. Other clients send none.

A page can also give a name of its own the address 127.0.0.1 (DNS rebinding). A server that listens
there alone therefore takes only the names of this machine for its own.
"""

from ipaddress import ip_address

from dreamserve_protocol.errors import ForbiddenOriginError

_SHOWN = 80


def check_origin(headers: dict[bytes, bytes], allowed: frozenset[str], is_local: bool) -> None:
    """Raise ForbiddenOriginError for a page of another origin than the server's own.

    `is_local`: whether the server listens on this machine's loopback interface alone. A proxy that
    changes Host is expected to say the original one in X-Forwarded-Host.
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
            " DREAMSERVE_ALLOWED_ORIGINS lists those that may"
        )


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means the machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
