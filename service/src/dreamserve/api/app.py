"""The ASGI application: routes, request ids, error handling, start and stop of the engine."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from itertools import count
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Match, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from dreamserve import __version__
from dreamserve.api.async_engine import Service
from dreamserve.api.bodies import CallerGoneError
from dreamserve.api.docs import docs_endpoint, openapi_endpoint
from dreamserve.api.examples import examples
from dreamserve.api.http import Endpoint
from dreamserve.api.inference.door import inference_problem, inference_routes, is_inference
from dreamserve.api.openapi import document
from dreamserve.api.openenv import Episodes
from dreamserve.api.origins import Cors, Hosts, check_origin, is_loopback
from dreamserve.api.pages import page_endpoint
from dreamserve.api.play import play_routes
from dreamserve.api.problems import VALID_ID
from dreamserve.api.responses import problem_response
from dreamserve.api.stream import Stream
from dreamserve.engine.engine import Engine
from dreamserve.settings import Settings
from dreamserve_protocol.errors import DrainingError, PathNotFoundError
from dreamserve_protocol.pages import PAGES
from dreamserve_protocol.verbs import VERBS

STOP_DEADLINE_S = 5.0  # for requests in progress, once no new ones are accepted
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SHOWN = 80

log = logging.getLogger("dreamserve")


class App(FastAPI):
    """FastAPI's application with dreamserve's routes, without FastAPI's own middleware.

    FastAPI's default middleware and dependency resolution take longer than a step. Middleware added
    with `add_middleware` is run.
    """

    def __init__(self, service: Service, **options: Any) -> None:
        super().__init__(redoc_url=None, docs_url=None, openapi_url=None, **options)
        self.service = service
        self.router.redirect_slashes = False
        self.router.default = _no_such_path
        self.router.routes.extend(_routes(service))

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        return openapi_document()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the routes wrapped in `Requests` and in any added middleware."""
        app: ASGIApp = Requests(self, self.service)
        for middleware in reversed(self.user_middleware):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        return app


def create_app(engine: Engine, settings: Settings) -> App:
    """Return the application over `engine`; its lifespan starts, warms up and stops the engine."""
    service = Service(engine, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # In a thread, so /livez responds while the graphs are warming up.
        starting = asyncio.create_task(_start(service))
        try:
            yield
        finally:
            await asyncio.to_thread(engine.stop, STOP_DEADLINE_S)
            await starting
            service.close()

    app = App(service, title="dreamserve", version=__version__, lifespan=lifespan)
    if settings.origins:
        app.add_middleware(
            Cors,
            allow_origins=list(settings.origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return app


@cache
def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document, with examples computed by the fake world."""
    return document(examples())


async def _start(service: Service) -> None:
    try:
        await asyncio.to_thread(service.engine.start)
    except DrainingError:
        return  # stopped before it was ready
    except Exception as error:
        log.exception("the engine could not start")
        service.failure = error


def _routes(service: Service) -> list[BaseRoute]:
    """Return one route for each path, the most frequent first."""
    paths = dict.fromkeys(verb.path for verb in VERBS)
    verbs = [(path, [verb for verb in VERBS if verb.path == path]) for path in paths]
    return [
        *(Route(path, Endpoint(service, of_path)) for path, of_path in verbs),
        WebSocketRoute("/stream", Stream(service)),
        WebSocketRoute("/ws", Episodes(service)),
        *inference_routes(service),
        *(Route(page.path, page_endpoint(service, page)) for page in PAGES),
        Route("/docs", docs_endpoint(openapi_document)),
        Route("/openapi.json", openapi_endpoint(openapi_document)),
        *play_routes(),
    ]


class Requests:
    """Assigns request ids, and converts every error to a problem.

    The id is the caller's x-request-id if valid, or else a new one; responses have the same header.
    """

    def __init__(self, app: App, service: Service) -> None:
        self._app, self._origins = app, service.settings.origins
        self._is_local = is_loopback(service.settings.host)
        self._hosts = Hosts(service.settings)
        # Routes without parameters, by path: matching routes one by one takes longer than a step.
        routes = (route for route in app.routes if isinstance(route, Route))
        self._exact = {route.path: route.app for route in routes if not route.param_convertors}
        self._id_prefix = secrets.token_hex(8)
        self._count = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app.router(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = self._request_id(headers)
        scope["state"] = {"headers": headers, "request_id": request_id}
        try:
            self._hosts.check(headers.get(b"host", b""))
            if scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS:
                check_origin(headers, self._origins, self._is_local)
            endpoint = self._exact.get(scope["path"])
            if endpoint is not None and scope["type"] == "http":
                await endpoint(scope, receive, send)
            else:
                scope["app"] = self._app
                await self._app.router(scope, receive, send)
        except CallerGoneError:
            return
        except Exception as error:
            of_inference = is_inference(scope["path"])
            respond = inference_problem if of_inference else problem_response
            await respond(error, request_id)(scope, receive, send)

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        header = headers.get(b"x-request-id")
        if header is not None and VALID_ID.fullmatch(request_id := header.decode("latin-1")):
            return request_id
        return f"{self._id_prefix}{next(self._count):016x}"


async def _no_such_path(scope: Scope, receive: Receive, send: Send) -> None:
    """Raise PathNotFoundError, for HTTP and WebSocket requests."""
    path: str = scope["path"]
    trimmed = {**scope, "path": path.rstrip("/")}
    hint = "GET /docs lists all paths"
    if path in ("/stream", "/ws"):
        hint = "it is only available as a WebSocket"
    elif any(route.matches(trimmed)[0] is not Match.NONE for route in scope["app"].routes):
        hint = "try it without the trailing slash"
    raise PathNotFoundError(f"no such path: {path[:_SHOWN]}; {hint}")
