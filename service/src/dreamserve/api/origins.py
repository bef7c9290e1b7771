"""Checks the Origin of web pages: the server's own and those that a setting lists are allowed.

A browser lets any page send simple requests and open WebSockets to any server, localhost included,
but sends the page's origin in the Origin header. Other clients send no such header.

A page's own host name can also resolve to 127.0.0.1 (DNS rebinding): then its requests have no
other origin. A server that listens only on loopback therefore accepts only this machine's names, in
Origin and in Host, and those that settings list.
"""

from ipaddress import ip_address

from dreamserve.listed import items
from dreamserve.settings import Settings
from dreamserve_protocol.errors import ForbiddenOriginError

_SHOWN = 80
_REMEMBERED = 256


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
        raise forbidden_origin(origin)


def forbidden_origin(origin: str) -> ForbiddenOriginError:
    """Return the error for a request of a web page of this origin."""
    return ForbiddenOriginError(
        f"web pages of {origin[:_SHOWN]} may not use this server;"
        " DREAMSERVE_ALLOWED_ORIGINS lists the allowed origins"
    )


class Hosts:
    """The values of Host that a server accepts."""

    def __init__(self, settings: Settings) -> None:
        listed = set(items(settings.allowed_hosts))
        self._any = "*" in listed or not is_loopback(settings.host)
        listed |= {origin.partition("://")[2] for origin in settings.origins}
        self._listed = {_without_port(host).lower() for host in listed}
        self._accepted = {b""}  # headers that were accepted before

    def check(self, host: bytes) -> None:
        """Raise ForbiddenOriginError for a name that is neither listed nor this machine's."""
        if host in self._accepted or self._any:
            return
        name = _without_port(host.decode("latin-1")).lower()
        if not is_loopback(name) and name not in self._listed:
            raise ForbiddenOriginError(
                f"Host {name[:_SHOWN]} is no name of this machine, on whose loopback address the"
                " server listens; DREAMSERVE_ALLOWED_HOSTS lists others"
            )
        if len(self._accepted) < _REMEMBERED:
            self._accepted.add(host)


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
