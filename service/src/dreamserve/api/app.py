"""The ASGI application: routes, problems, an id for each request, and the engine's life."""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
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

log = logging.getLogger("dreamserve")


def create_app(engine: Engine, settings: Settings) -> FastAPI:
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
    app.state.service = service
    app.include_router(router)
    app.add_middleware(Door)
    problems.install(app)
    openapi: dict[str, Any] = document(router.routes)
    app.openapi = lambda: openapi  # type: ignore[method-assign]  # FastAPI's documented way
    return app


async def _start(service: Service) -> None:
    try:
        await asyncio.to_thread(service.engine.start)
    except Exception as error:
        log.exception("the engine could not start")
        service.failure = error


class Door:
    """Give each request an id, and an unforeseen error the same kind of answer as a foreseen one.

    The id is the caller's x-request-id where that is sane, and goes back in the same header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                header = (b"x-request-id", request_id.encode())
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("unexpected error, request_id %s", request_id)
            if started:
                raise
            await problems.unexpected(request_id)(scope, receive, send_with_id)


def _request_id(scope: Scope) -> str:
    given: bytes = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _SANE_REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
