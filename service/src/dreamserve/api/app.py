"""The ASGI application: routes, problems, an id for each request, and the engine's life."""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dreamserve import __version__
from dreamserve.api import problems
from dreamserve.api.exchange import Service
from dreamserve.api.openapi import document
from dreamserve.api.routes import router
from dreamserve.engine.loop import Engine
from dreamserve.settings import Settings

STOP_DEADLINE_S = 5.0  # for the answers under way, once no more requests come
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

Endpoint = Callable[[Request], Awaitable[Response]]

log = logging.getLogger("dreamserve")


def create_app(engine: Engine, settings: Settings) -> "Door":
    """Return the application over `engine`; its lifespan starts, warms and stops the engine."""
    service = Service(engine, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Beside the event loop, so that /livez answers while the graphs are being warmed.
        starting = asyncio.create_task(_start(service))
        try:
            yield
        finally:
            await starting
            await asyncio.to_thread(engine.stop, STOP_DEADLINE_S)

    app = FastAPI(title="dreamserve", version=__version__, lifespan=lifespan, redoc_url=None)
    app.include_router(router)
    app.add_middleware(Unforeseen)
    problems.install(app)
    openapi: dict[str, Any] = document(router.routes)
    app.openapi = lambda: openapi  # type: ignore[method-assign]  # FastAPI's documented way
    return Door(app, service, router.routes)


async def _start(service: Service) -> None:
    try:
        await asyncio.to_thread(service.engine.start)
    except Exception as error:
        log.exception("the engine could not start")
        service.failure = error


class Door:
    """Give each request an id, and an unforeseen error the same kind of answer as a foreseen one.

    The id is the caller's x-request-id where that is sane, and goes back in the same header.

    What has one plain path goes straight from here to its endpoint. It needs nothing of what lies
    between (patterns to match, dependencies to resolve, half a dozen layers), and that costs more
    than a step does. FastAPI documents it all the same, and serves the rest.
    """

    def __init__(self, app: FastAPI, service: Service, routes: Iterable[BaseRoute]) -> None:
        self.app, self.service = app, service
        self._straight: dict[tuple[str, str], Endpoint] = {
            (method, route.path): route.endpoint
            for route in routes
            if isinstance(route, APIRoute) and not route.param_convertors
            for method in route.methods or ()
        }
        self._made_id = secrets.token_hex(8)
        self._count = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = self._request_id(headers)
        scope["state"] = {"service": self.service, "headers": headers, "request_id": request_id}
        endpoint = self._straight.get((scope["method"], scope["path"]))
        if endpoint is None:
            await self.app(scope, receive, _with_id(send, request_id))
            return
        try:
            response = await endpoint(Request(scope, receive, send))
        except Exception as error:
            response = problems.response_to(error, scope) or _unexpected(request_id)
        response.raw_headers.append((b"x-request-id", request_id.encode()))
        await response(scope, receive, send)

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        given = headers.get(b"x-request-id")
        if given is not None and _SANE_REQUEST_ID.fullmatch(given):
            return given.decode()
        return f"{self._made_id}{next(self._count):016x}"


class Unforeseen:
    """Inside FastAPI, which would answer an unforeseen error in words of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception:
            if started or scope["type"] != "http":
                raise
            await _unexpected(scope["state"]["request_id"])(scope, receive, send)


def _with_id(send: Send, request_id: str) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            header = (b"x-request-id", request_id.encode())
            message["headers"] = [*message.get("headers", ()), header]
        await send(message)

    return send_with_id


def _unexpected(request_id: str) -> Response:
    """Log the error that is being handled, and return what is said of it."""
    log.exception("unexpected error, request_id %s", request_id)
    return problems.unexpected(request_id)
