"""The access log: a line for each request, if `access_log` is set."""

import logging
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dreamserve import logs

_SHOWN = 200  # characters of a path

log = logging.getLogger(logs.ACCESS)


def log_request(status: int | None, duration_s: float, **known: Any) -> None:
    """Log a request that is done; without a status, the caller left before its response."""
    fields = {**known, "status": status, "duration_ms": round(1e3 * duration_s, 3)}
    fields = {name: value for name, value in fields.items() if value is not None}
    log.info("request", extra={"fields": fields})


class AccessLog:
    """Logs the HTTP requests to an application; `describe` tells what is known of one."""

    def __init__(self, app: ASGIApp, describe: Callable[[Scope], dict[str, Any]]) -> None:
        self._app, self._describe = app, describe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def send_noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            path = scope["path"][:_SHOWN]  # without the query
            log_request(status, **self._describe(scope), method=scope["method"], path=path)
