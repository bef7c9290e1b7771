"""Pages about the server itself: where things are, whether it lives, its documentation."""

from collections.abc import Callable
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from dreamserve import __version__
from dreamserve.api import codec
from dreamserve.api.responses import BytesResponse, no_verb
from dreamserve.api.service import Service
from dreamserve_protocol.errors import (
    DrainingError,
    NotReadyError,
    ProblemError,
)
from dreamserve_protocol.markers import Message
from dreamserve_protocol.worlds import Health, Index

ALLOWED = "GET, HEAD, OPTIONS"


class Page(NamedTuple):
    """A path that answers GET; no session is in it."""

    path: str
    summary: str
    result: type[Message]
    get: Callable[[Service], Message]
    errors: tuple[type[ProblemError], ...] = ()


def _index(service: Service) -> Index:
    return Index("dreamserve", __version__, "/docs", "/openapi.json", "/worlds", "/readyz")


def _livez(service: Service) -> Health:
    return Health("live")


def _readyz(service: Service) -> Health:
    if service.engine.draining:
        raise DrainingError("the server is shutting down")
    if not service.engine.ready:
        raise NotReadyError("the engine is not running: it is warming up, or failed to start")
    return Health("ready")


PAGES = (
    Page("/", "Tell where things are.", Index, _index),
    Page("/livez", "Answer while the process lives.", Health, _livez),
    Page(
        "/readyz",
        "Answer 200 while new sessions are welcome: after warming up, and until shutting down.",
        Health,
        _readyz,
        (NotReadyError, DrainingError),
    ),
)


class Static:
    """An ASGI application that answers GET with what `make` returns."""

    def __init__(self, make: Callable[[Scope], BytesResponse]) -> None:
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises ProblemError."""
        method = scope["method"]
        if method in ("GET", "HEAD"):
            await self._make(scope)(scope, receive, send)
        else:
            await no_verb(method, ALLOWED)(scope, receive, send)


def page_endpoint(service: Service, page: Page) -> Static:
    """Return the application that answers with a page."""

    def make(scope: Scope) -> BytesResponse:
        as_msgpack = codec.prefers_msgpack(scope["state"]["headers"].get(b"accept", b""))
        media_type = codec.MSGPACK if as_msgpack else codec.JSON
        return BytesResponse(codec.encode(page.get(service), as_msgpack), media_type)

    return Static(make)
