"""Responses whose status, headers and body are known in advance."""

from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from dreamserve.api.codec import encode
from dreamserve.api.problems import MEDIA_TYPE, headers_of, problem_of
from dreamserve_protocol.errors import MethodNotAllowedError

ALLOWED = "GET, HEAD, OPTIONS"  # the methods of `Static`
_BODILESS = (204, 304)  # RFC 9110, 8.6: these have no content, and tell no length of it
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")


class BytesResponse:
    """An ASGI application that sends one response; x-request-id comes from the scope's state.

    For a WebSocket that is not accepted yet, it rejects the handshake.
    """

    def __init__(
        self,
        body: bytes,
        media_type: str = "",
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.body, self.status = body, status
        self.headers = [_NO_SNIFFING]
        if status not in _BODILESS:
            self.headers.insert(0, (b"content-length", str(len(body)).encode()))
        if media_type:
            self.headers.append((b"content-type", media_type.encode()))
        for name, value in (headers or {}).items():
            self.headers.append((name.lower().encode(), value.encode("latin-1", "replace")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        request_id: str = scope["state"]["request_id"]
        headers = [*self.headers, (b"x-request-id", request_id.encode())]
        kind = "http" if scope["type"] == "http" else "websocket.http"
        await send({"type": f"{kind}.response.start", "status": self.status, "headers": headers})
        await send({"type": f"{kind}.response.body", "body": self.body})


def page_headers(**policy: str) -> dict[str, str]:
    """Return the headers of a page: a Content-Security-Policy that allows only what `policy` says.

    No other site may show the page in a frame, and none that it links to learns its address.
    """
    allowed = {"base_uri": "'none'", "form_action": "'none'", "frame_ancestors": "'none'", **policy}
    directives = (f"{name.replace('_', '-')} {value}" for name, value in allowed.items())
    return {
        "content-security-policy": "; ".join(("default-src 'none'", *directives)),
        "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
        "referrer-policy": "no-referrer",
    }


def problem_response(error: Exception, request_id: str) -> BytesResponse:
    """Return the problem details (RFC 9457) of an error, as JSON."""
    problem, document = problem_of(error, request_id)
    body = encode(document, as_msgpack=False)
    return BytesResponse(body, MEDIA_TYPE, problem.status, headers_of(problem))


def options_response(method: str, allowed: str) -> BytesResponse:
    """Return the response to OPTIONS. Raises MethodNotAllowedError for another method."""
    if method == "OPTIONS":
        return BytesResponse(b"", status=204, headers={"Allow": allowed})
    error = MethodNotAllowedError(f"{method[:20]} is not allowed here; {allowed} are")
    error.allowed = allowed
    raise error


class Static:
    """An ASGI application that responds to GET with the response that `make` returns."""

    def __init__(self, make: Callable[[Scope], BytesResponse]) -> None:
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises ProblemError."""
        method = scope["method"]
        if method in ("GET", "HEAD"):
            await self._make(scope)(scope, receive, send)
        else:
            await options_response(method, ALLOWED)(scope, receive, send)
