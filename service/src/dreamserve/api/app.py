"""The ASGI application: routes, request ids, error handling."""

import secrets
from collections.abc import Callable
from functools import cache, partial
from itertools import count
from time import perf_counter
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Match, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from dreamserve import __version__
from dreamserve.api.access.callers import ANYONE
from dreamserve.api.access_log import AccessLog
from dreamserve.api.bodies import CallerGoneError
from dreamserve.api.cors import Cors
from dreamserve.api.docs import docs_endpoint, openapi_endpoint
from dreamserve.api.examples import examples
from dreamserve.api.heads import by_name
from dreamserve.api.http import Endpoint
from dreamserve.api.inference.door import inference_problem, inference_routes, is_inference
from dreamserve.api.lifespan import lifespan
from dreamserve.api.metrics import metrics_endpoint
from dreamserve.api.openapi import document
from dreamserve.api.openenv import Episodes
from dreamserve.api.origins import Hosts, check_origin, is_loopback
from dreamserve.api.pages import page_endpoint
from dreamserve.api.play import play_routes
from dreamserve.api.prefix import Prefix
from dreamserve.api.problems import INFERENCE, OTHER, VALID_ID
from dreamserve.api.responses import problem_response
from dreamserve.api.service import Service
from dreamserve.api.stream import Stream
from dreamserve.engine.engine import Engine
from dreamserve.settings import Settings
from dreamserve_protocol.errors import OverloadedError, PathNotFoundError
from dreamserve_protocol.pages import PAGES
from dreamserve_protocol.verbs import VERBS

PROBES = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
# Paths that need no API key: health checks, and pages that hold nothing of this server's worlds.
OPEN_PATHS = frozenset(
    {
        *PROBES,
        *(page.path for page in PAGES),
        "/docs",
        "/openapi.json",
        *(route.path for route in play_routes()),
    }
)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SHOWN = 80

# Makes an application of another, and of what tells what is known of a request.
Wrapper = Callable[[ASGIApp, Callable[[Scope], dict[str, Any]]], ASGIApp]


class App(FastAPI):
    """FastAPI's application with dreamserve's routes, without FastAPI's own middleware.

    FastAPI's default middleware and dependency resolution take longer than a step. Middleware added
    with `add_middleware` is run.
    """

    def __init__(self, service: Service, **options: Any) -> None:
        super().__init__(redoc_url=None, docs_url=None, openapi_url=None, **options)
        self.service = service
        self.wrappers: list[Wrapper] = [AccessLog] if service.settings.access_log else []
        self.router.redirect_slashes = False
        self.router.default = _no_such_path
        self.router.routes.extend(_routes(service, self.openapi))

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, with the path prefix of a proxy as its server."""
        prefix = self.service.settings.root_path
        document = openapi_document()
        return {**document, "servers": [{"url": prefix}]} if prefix else document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the routes wrapped in `Requests` and in any added middleware."""
        requests = Requests(self, self.service)
        app: ASGIApp = requests
        for wrapper in self.wrappers:
            app = wrapper(app, requests.describe)
        for middleware in reversed(self.user_middleware):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        return app


def create_app(engine: Engine, settings: Settings) -> App:
    """Return the application over `engine`; its lifespan starts, warms up and stops the engine."""
    service = Service(engine, settings)
    lives = partial(lifespan, service)
    app = App(service, title="dreamserve", version=__version__, lifespan=lives)
    if settings.root_path:
        app.add_middleware(Prefix, prefix=settings.root_path)
    if settings.origins:
        app.add_middleware(
            Cors,
            origins=settings.origins,
            problems=service.problems,
            logs_all=settings.access_log,
        )
    return app


@cache
def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document, with examples computed by the fake world."""
    return document(examples())


def _routes(service: Service, document: Callable[[], dict[str, Any]]) -> list[BaseRoute]:
    """Return one route for each path, the most frequent first."""
    paths = dict.fromkeys(verb.path for verb in VERBS)
    verbs = [(path, [verb for verb in VERBS if verb.path == path]) for path in paths]
    return [
        *(Route(path, Endpoint(service, of_path)) for path, of_path in verbs),
        WebSocketRoute("/stream", Stream(service)),
        WebSocketRoute("/ws", Episodes(service)),
        *inference_routes(service),
        *(Route(page.path, page_endpoint(service, page)) for page in PAGES),
        Route("/docs", docs_endpoint(document)),
        Route("/openapi.json", openapi_endpoint(document)),
        *play_routes(),
        *([Route("/metrics", metrics_endpoint(service))] if service.settings.metrics else []),
    ]


class Requests:
    """Assigns request ids, and converts every error to a problem.

    The id is the caller's x-request-id if valid, or else a new one; responses have the same header.
    """

    def __init__(self, app: App, service: Service) -> None:
        self._app, self._service, self._origins = app, service, service.settings.origins
        self._is_local = is_loopback(service.settings.host)
        self._hosts = Hosts(service.settings)
        self._access = None if service.access.is_open else service.access
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
        headers = by_name(scope["headers"])
        request_id = self._request_id(headers)
        scope["state"] = state = {
            "headers": headers,
            "request_id": request_id,
            "began_s": perf_counter(),
            "caller": ANYONE,
        }
        path: str = scope["path"]
        try:
            if path not in PROBES:  # a load balancer's may name it by its own cluster
                self._hosts.check(headers.get(b"host", b""))
            if scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS:
                check_origin(headers, self._origins, self._is_local)
            if self._access is not None and path not in OPEN_PATHS:
                state["caller"] = self._access.caller(scope, headers)
            _check_slashes(scope)
            endpoint = self._exact.get(path)
            if endpoint is not None and scope["type"] == "http":
                await endpoint(scope, receive, send)
            else:
                scope["app"] = self._app
                await self._app.router(scope, receive, send)
        except CallerGoneError:
            return
        except Exception as error:
            self._service.problems.note(error, **self.describe(scope))
            if isinstance(error, OverloadedError) and path in self._exact:
                self._service.connections.groups.refused(scope.get("raw_path", b""))
            of_inference = is_inference(path)
            respond = inference_problem if of_inference else problem_response
            await respond(error, request_id)(scope, receive, send)

    def describe(self, scope: Scope) -> dict[str, Any]:
        """Return what is known of a request by now, as `Problems.note` takes it."""
        state, path = scope["state"], scope["path"]
        endpoint = self._exact.get(path) or scope.get("endpoint")
        verb = INFERENCE if is_inference(path) else OTHER
        if isinstance(endpoint, Endpoint) and scope["type"] == "http":
            verb = endpoint.verb_of(scope["method"])
        in_header = state["headers"].get(b"x-session-id", b"").decode("latin-1")
        in_path = scope.get("path_params", {}).get("session_id", in_header)
        return {
            "request_id": state["request_id"],
            "verb": verb,
            "session_id": getattr(state.get("request"), "session_id", None) or in_path or None,
            "duration_s": perf_counter() - state["began_s"],
        }

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        header = headers.get(b"x-request-id")
        if header is not None and VALID_ID.fullmatch(request_id := header.decode("latin-1")):
            return request_id
        return f"{self._id_prefix}{next(self._count):016x}"


def _check_slashes(scope: Scope) -> None:
    """Raise PathNotFoundError for an encoded slash, with which an id leads to other verbs."""
    raw_path: bytes = scope.get("raw_path") or b""
    if b"%2f" in raw_path.lower():
        shown = raw_path[:_SHOWN].decode("latin-1")
        raise PathNotFoundError(f"no such path: {shown}; no id and no name has a slash (%2F)")


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
