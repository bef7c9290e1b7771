"""CORS: which web pages of other origins may read this server's responses."""

import secrets
from collections.abc import Sequence
from time import perf_counter

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dreamserve.api.access_log import log_request
from dreamserve.api.origins import forbidden_origin
from dreamserve.api.problems import MEDIA_TYPE, OTHER, Problems
from dreamserve.api.responses import problem_response
from dreamserve_protocol.errors import ForbiddenOriginError

# Those that the server reads, beside those that every page may send.
REQUEST_HEADERS = (
    "authorization",
    "content-type",
    "inference-header-content-length",
    "traceparent",
    "tracestate",
    "x-request-id",
    "x-request-timeout",
    "x-session-id",
    "x-session-route",  # which load balancers read
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_SHOWN = 80
RESPONSE_HEADERS = (
    "inference-header-content-length",
    "retry-after",
    "www-authenticate",
    "x-request-id",
)


class _Middleware(CORSMiddleware):
    """Starlette's, which refuses a preflight with a problem."""

    problems: Problems
    logs_all: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; log a preflight, which no other layer sees."""
        if not (self.logs_all and _is_preflight(scope)):
            await super().__call__(scope, receive, send)
            return
        began_s = perf_counter()
        response = self.preflight_response(Headers(scope=scope))
        await response(scope, receive, send)
        known = {"request_id": response.headers.get("x-request-id"), "verb": OTHER}
        passed_s, path = perf_counter() - began_s, scope["path"]
        log_request(response.status_code, passed_s, path, **known, method=scope["method"])

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the response to OPTIONS of a web page of another origin."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        request_id, error = secrets.token_hex(16), self._refusal(request_headers)
        self.problems.note(error, request_id)
        problem = problem_response(error, request_id)
        headers = {"Vary": "Origin", "x-request-id": request_id}
        return Response(problem.body, problem.status, headers, MEDIA_TYPE)

    def _refusal(self, request_headers: Headers) -> ForbiddenOriginError:
        """Return what is wrong with a preflight."""
        origin = request_headers["origin"]
        if not self.is_allowed_origin(origin):
            return forbidden_origin(origin)
        method = request_headers["access-control-request-method"]
        if method not in METHODS:
            return _forbidden(method, METHODS)
        asked = request_headers.get("access-control-request-headers", "").lower().split(",")
        unknown = [name for name in map(str.strip, asked) if name not in self.allow_headers]
        return _forbidden(", ".join(unknown), REQUEST_HEADERS)


def _is_preflight(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "OPTIONS":
        return False
    headers = Headers(scope=scope)
    return "origin" in headers and "access-control-request-method" in headers


def _forbidden(what: str, allowed: Sequence[str]) -> ForbiddenOriginError:
    return ForbiddenOriginError(
        f"web pages of other origins may not send {what[:_SHOWN]}; they may send"
        f" {', '.join(allowed)}"
    )


class Cors:
    """Starlette's CORSMiddleware for these origins, with Vary on every response.

    Starlette sets Vary only for requests with an Origin: a cache could give a response to a request
    without one to a page, which may not read it then.
    """

    def __init__(
        self, app: ASGIApp, origins: frozenset[str], problems: Problems, *, logs_all: bool = False
    ) -> None:
        self._varies = "*" not in origins
        self._app = _Middleware(
            app,
            allow_origins=sorted(origins),
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
        )
        self._app.problems, self._app.logs_all = problems, logs_all

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
