"""The access log: a line for each request, if `access_log` is set.

Of a WebSocket, that is its handshake, when it is answered, and each message, which who serves the
socket logs. A request that is refused for its head, and a preflight, are logged where they end.
"""

import logging
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dreamserve import logs

SWITCHING, FORBIDDEN = 101, 403  # an accepted handshake, and one that is refused without a response
_SHOWN = 200  # characters of a path

log = logging.getLogger(logs.ACCESS)


def log_request(
    status: int | None, duration_s: float, path: str | None = None, **known: Any
) -> None:
    """Log a request that is done; without a status, the caller left before its response.

    `path` is that without the query.
    """
    shown = None if path is None else path[:_SHOWN]
    duration_ms = round(1e3 * duration_s, 3)
    fields = {**known, "path": shown, "status": status, "duration_ms": duration_ms}
    fields = {name: value for name, value in fields.items() if value is not None}
    log.info("request", extra={"fields": fields})


class AccessLog:
    """Logs the HTTP requests to an application; `describe` tells what is known of one."""

    def __init__(self, app: ASGIApp, describe: Callable[[Scope], dict[str, Any]]) -> None:
        self._app, self._describe = app, describe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        status: int | None = None

        async def send_noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            self._log(scope, status, scope["method"])

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_answered = False

        async def send_noting(message: Message) -> None:
            nonlocal is_answered
            await send(message)
            status = _status_of(message)
            if status is not None and not is_answered:
                is_answered = True
                self._log(scope, status, "GET")

        await self._app(scope, receive, send_noting)

    def _log(self, scope: Scope, status: int | None, method: str) -> None:
        log_request(status, **self._describe(scope), method=method, path=scope["path"])


def _status_of(message: Message) -> int | None:
    """Return the status by which a message answers a handshake, if it does."""
    if message["type"] == "websocket.accept":
        return SWITCHING
    if message["type"] == "websocket.close":
        return FORBIDDEN
    status: int | None = message.get("status")
    return status
