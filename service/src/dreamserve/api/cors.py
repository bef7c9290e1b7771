"""CORS: which web pages of other origins may read this server's responses."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Those that the server reads, beside those that every page may send.
REQUEST_HEADERS = (
    "authorization",
    "content-type",
    "inference-header-content-length",
    "x-request-id",
    "x-request-timeout",
    "x-session-id",
)
RESPONSE_HEADERS = (
    "inference-header-content-length",
    "retry-after",
    "www-authenticate",
    "x-request-id",
)


class Cors:
    """Starlette's CORSMiddleware for these origins, with Vary on every response.

    Starlette sets Vary only for requests with an Origin: a cache could give a response to a request
    without one to a page, which may not read it then.
    """

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self._varies = "*" not in origins
        self._app = CORSMiddleware(
            app,
            allow_origins=sorted(origins),
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not self._varies:
            await self._app(scope, receive, send)
            return

        async def send_varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [one for one in message["headers"] if one[0] != b"vary"]
                message["headers"] = [*others, (b"vary", b"Origin")]
            await send(message)

        await self._app(scope, receive, send_varying)
