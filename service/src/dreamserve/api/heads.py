"""What the head of a request must be, and the refusal of one that is not."""

import logging
import re
import secrets
from collections.abc import Iterable

from httptools import HttpParserCallbackError, HttpParserError, HttpParserInvalidURLError
from starlette.responses import Response

from dreamserve.api.problems import problem

HEAD_BYTES = 64 * 1024  # of a request line with its headers; of trailers too

Headers = list[tuple[bytes, bytes]]  # (name in lower case, value)

_ABSOLUTE = re.compile(rb"https?://(?:[^/?#@]*@)?([^/?#]+)", re.IGNORECASE)

log = logging.getLogger("dreamserve")


class Refusal(Exception):
    """A request that is not served, and why."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail

    @classmethod
    def of(cls, error: HttpParserError) -> "Refusal":
        """Return the refusal for what the parser raised."""
        cause = error.__context__
        if isinstance(cause, cls):
            return cause
        if isinstance(error, HttpParserCallbackError):
            if not isinstance(cause, HttpParserInvalidURLError):
                log.error("unexpected error in reading a request", exc_info=error)
                return cls(500, "internal_error", "an unexpected error; the server's log has it")
            error = HttpParserError("Invalid request target")
        return cls(400, "bad_request", f"this is not a request in HTTP/1.1: {error}")

    def response(self) -> Response:
        """Return the problem document, under an id that the log has too."""
        request_id = secrets.token_hex(16)
        log.info("refused with %d, request_id %s: %s", self.status, request_id, self.detail)
        headers = {"connection": "close", "x-request-id": request_id}
        return problem(self.status, self.code, self.detail, request_id, headers)


def too_large() -> Refusal:
    """Return the refusal of a head, or of trailers, that is over the bound."""
    return Refusal(431, "too_large", f"the headers are over the bound of {HEAD_BYTES} bytes")


def size_bytes(target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return what a head takes on the wire, but for the method and the version."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


def without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """Return a head as bytes again, without the header that asks for an upgrade."""
    lines = [b"%s %s HTTP/%s\r\n" % (method, target, version.encode())]
    lines += [b"%s: %s\r\n" % header for header in headers if header[0] != b"upgrade"]
    return b"".join([*lines, b"\r\n"])


def is_unusual(target: bytes, headers: Headers) -> bool:
    """Return whether `normalize` has something to do. Most heads are usual, and this is quick."""
    fields = dict(headers)
    if (
        b"host" not in fields
        or len(fields) < len(headers)  # some are repeated
        or b"transfer-encoding" in fields
        or b"expect" in fields
        or not target.startswith(b"/")
    ):
        return True
    values = b"\n".join(fields.values()) + b"\n"
    return b" \n" in values or b"\t\n" in values


def normalize(target: bytes, headers: Headers, version: str) -> bytes:
    """Return the target in origin form, and bring `headers` into one form in place.

    Raises Refusal for what HTTP forbids to serve, or this server cannot.
    """
    old = version < "1.1"
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and not old):
        raise Refusal(400, "bad_request", f"a request has one Host header, this one has {hosts}")
    headers[:] = [(name, value.rstrip(b" \t")) for name, value in headers]
    for name, value in headers:
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            raise Refusal(501, "not_implemented", "no Transfer-Encoding but chunked is read here")
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        return target
    host, rest = absolute[1], target[absolute.end() :]
    headers[:] = [(name, host if name == b"host" else value) for name, value in headers]
    return rest if rest.startswith(b"/") else b"/" + rest
