"""Checks and normalizes a request's head (request line and headers), and refuses invalid ones."""

import logging
import re
import secrets
from collections.abc import Iterable
from time import perf_counter
from urllib.parse import unquote

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidURLError,
    HttpRequestParser,
)
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.http11 import Request
from websockets.server import ServerProtocol

from dreamserve.api.access_log import log_request
from dreamserve.api.problems import OTHER, Problems
from dreamserve.api.responses import problem_response
from dreamserve_protocol.errors import (
    BadRequestError,
    HeadersTooLargeError,
    InternalError,
    ProblemError,
    UnsupportedHttpError,
)

Headers = list[tuple[bytes, bytes]]  # (name in lower case, value)

MAX_HEADERS = 128  # each takes far more memory than the few bytes that it may have

_ABSOLUTE = re.compile(rb"https?://(?:[^/?#@]*@)?([^/?#]+)", re.IGNORECASE)

log = logging.getLogger("dreamserve")


class Refusal(Exception):
    """A request is refused: the server responds with `error` and closes the connection."""

    def __init__(self, error: ProblemError) -> None:
        super().__init__(error.detail)
        self.error = error

    @classmethod
    def of(cls, error: HttpParserError) -> "Refusal":
        """Return the refusal for an error raised by the parser or by a callback of it."""
        cause = error.__context__
        if isinstance(cause, cls):
            return cause
        if isinstance(error, HttpParserCallbackError):
            if not isinstance(cause, HttpParserInvalidURLError):
                log.error("unexpected error in reading a request", exc_info=error)
                return cls(InternalError("an unexpected error; the server's log has it"))
            error = HttpParserError("Invalid request target")
        return cls(BadRequestError(f"not a valid HTTP/1.1 request: {error}"))

    def response(self, problems: Problems, request: dict[str, str] | None = None) -> ASGIApp:
        """Return the application that sends the error, and note it with its request id.

        It logs the request if `request` is what is known of it: `method` and `path`, or nothing.
        """
        request_id, began_s = secrets.token_hex(16), perf_counter()
        problems.note(self.error, request_id)
        response = problem_response(self.error, request_id)
        response.headers.append((b"connection", b"close"))

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"] = {"request_id": request_id}
            await response(scope, receive, send)
            if request is not None:
                passed_s = perf_counter() - began_s
                known = {"request_id": request_id, "verb": OTHER, **request}
                log_request(self.error.status, passed_s, **known)

        return refuse


def path_of(target: bytes) -> str:
    """Return the path of a request's target, without its query and host."""
    absolute = _ABSOLUTE.match(target)
    path = target[absolute.end() if absolute else 0 :].partition(b"?")[0]
    return unquote(path.decode("latin-1"))


def too_large(limit: int) -> Refusal:
    """Return the refusal of a head or trailers of more than `limit` bytes."""
    return Refusal(HeadersTooLargeError(f"the headers exceed the limit of {limit} bytes"))


def too_many() -> Refusal:
    """Return the refusal of a head or trailers of more than MAX_HEADERS headers."""
    return Refusal(HeadersTooLargeError(f"a request has at most {MAX_HEADERS} headers"))


def size_bytes(target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the size of a head on the wire, without its method and version."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


def for_websocket(parser: HttpRequestParser, headers: Headers) -> bool:
    """Return whether the request asks to upgrade to a WebSocket."""
    return parser.get_method() == b"GET" and _has(headers, b"upgrade", b"websocket")


def expects_continue(parser: HttpRequestParser, headers: Headers) -> bool:
    """Return whether the client waits for 100 Continue, which HTTP/1.0 does not have."""
    return parser.get_http_version() >= "1.1" and _has(headers, b"expect", b"100-continue")


def _has(headers: Headers, name: bytes, value: bytes) -> bool:
    return any(key == name and found.lower() == value for key, found in headers)


def without_upgrade(parser: HttpRequestParser, target: bytes, headers: Headers) -> bytes:
    """Return the parsed head as bytes, without its Upgrade header."""
    return _bytes_of(parser, target, (header for header in headers if header[0] != b"upgrade"))


def check_handshake(parser: HttpRequestParser, target: bytes, headers: Headers) -> None:
    """Raise Refusal for a head that is not a valid WebSocket handshake."""
    handshake = ServerProtocol()
    handshake.receive_data(_bytes_of(parser, target, headers))
    for event in handshake.events_received():
        if isinstance(event, Request):
            handshake.accept(event)
    if handshake.handshake_exc is not None:
        reason = handshake.handshake_exc.__cause__ or handshake.handshake_exc
        raise Refusal(BadRequestError(f"not a valid WebSocket handshake: {reason}"))


def _bytes_of(
    parser: HttpRequestParser, target: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """Return a parsed head as bytes."""
    version = parser.get_http_version().encode()
    lines = [b"%s %s HTTP/%s\r\n" % (parser.get_method(), target, version)]
    lines += [b"%s: %s\r\n" % header for header in headers]
    return b"".join([*lines, b"\r\n"])


def by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name; different values of one name are joined, as RFC 9110, 5.3 says."""
    fields = dict(headers := list(headers))
    if len(fields) < len(headers):
        for name in fields:
            values = dict.fromkeys(value for other, value in headers if other == name)
            fields[name] = b", ".join(values)
    return fields


def is_unusual(target: bytes, headers: Headers) -> bool:
    """Return whether a head may need `normalize`: a quick test that most heads do not pass."""
    fields = dict(headers)
    return (
        b"host" not in fields
        or len(fields) < len(headers)  # repeated names
        or b"expect" in fields
        or b"transfer-encoding" in fields
        or not target.startswith(b"/")
    )


def normalize(parser: HttpRequestParser, target: bytes, headers: Headers) -> bytes:
    """Return the target in origin form, and set Host in `headers` to an absolute target's host.

    Raises Refusal for a head that is invalid HTTP or not supported by this server.
    """
    is_old = parser.get_http_version() < "1.1"
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and not is_old):
        raise Refusal(BadRequestError(f"a request must have one Host header, not {hosts}"))
    for name, value in headers:
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            raise Refusal(UnsupportedHttpError("the only supported Transfer-Encoding is chunked"))
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        return target
    host, rest = absolute[1], target[absolute.end() :]
    headers[:] = [(name, host if name == b"host" else value) for name, value in headers]
    return rest if rest.startswith(b"/") else b"/" + rest
