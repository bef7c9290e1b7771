"""Responses as bytes: a status, headers and a body that is there already."""

from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from dreamserve.api.codec import encode
from dreamserve.api.problems import MEDIA_TYPE, headers_of, problem_of
from dreamserve_protocol.errors import MethodNotAllowedError

ALLOWED = "GET, HEAD, OPTIONS"  # where there is nothing but to read


class BytesResponse:
    """An ASGI application that sends one response; x-request-id comes from the scope's state.

    A WebSocket that is not accepted yet is refused with it.
    """

    def __init__(
        self,
        body: bytes,
        media_type: str = "",
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.body, self.status = body, status
        self.headers = [(b"content-length", str(len(body)).encode())]
        if media_type:
            self.headers.append((b"content-type", media_type.encode()))
        for name, value in (headers or {}).items():
            self.headers.append((name.lower().encode(), value.encode("latin-1", "replace")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        request_id: str = scope["state"]["request_id"]
        headers = [*self.headers, (b"x-request-id", request_id.encode())]
        kind = "http" if scope["type"] == "http" else "websocket.http"
        await send({"type": f"{kind}.response.start", "status": self.status, "headers": headers})
        await send({"type": f"{kind}.response.body", "body": self.body})


def problem_response(error: Exception, request_id: str) -> BytesResponse:
    """Return the problem that an error is answered with."""
    answered, document = problem_of(error, request_id)
    body = encode(document, as_msgpack=False)
    return BytesResponse(body, MEDIA_TYPE, answered.status, headers_of(answered))


def no_verb(method: str, allowed: str) -> BytesResponse:
    """Return what OPTIONS is answered with. Raises MethodNotAllowedError for another method."""
    if method == "OPTIONS":
        return BytesResponse(b"", status=204, headers={"Allow": allowed})
    error = MethodNotAllowedError(f"{method[:20]} is not allowed here; {allowed} are")
    error.allowed = allowed
    raise error


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
