"""Pages about the server itself: the index, and the health checks."""

from collections.abc import Callable

from starlette.types import Scope

from dreamserve import __version__
from dreamserve.api import codec
from dreamserve.api.responses import BytesResponse, Static
from dreamserve.api.service import Service
from dreamserve_protocol.markers import Message
from dreamserve_protocol.pages import Health, Index, Page


def _index(service: Service) -> Index:
    paths = ("/play", "/docs", "/openapi.json", "/worlds", "/readyz")
    return Index("dreamserve", __version__, *(service.settings.root_path + path for path in paths))


def _livez(service: Service) -> Health:
    service.check_alive()
    return Health("live")


def _readyz(service: Service) -> Health:
    service.check_ready()
    return Health("ready")


_GET: dict[str, Callable[[Service], Message]] = {"/": _index, "/livez": _livez, "/readyz": _readyz}


def page_endpoint(service: Service, page: Page) -> Static:
    """Return the application that serves a page, as JSON or msgpack."""

    get = _GET[page.path]

    def make(scope: Scope) -> BytesResponse:
        as_msgpack = codec.prefers_msgpack(scope["state"]["headers"].get(b"accept", b""))
        media_type = codec.MSGPACK if as_msgpack else codec.JSON
        return BytesResponse(codec.encode(get(service), as_msgpack), media_type)

    return Static(make)
