"""A path prefix, at which a proxy serves this server beside others."""

from starlette.types import ASGIApp, Receive, Scope, Send


class Prefix:
    """Removes the prefix from paths that begin with it, which a proxy has not removed."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        path: str = scope.get("path", "")
        if path == self._prefix or path.startswith(f"{self._prefix}/"):
            scope = {**scope, "path": path.removeprefix(self._prefix) or "/"}
        await self._app(scope, receive, send)
