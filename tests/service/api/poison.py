"""Builders of poisoned requests, and of the answers that they must get."""

from typing import Any, NamedTuple

import msgpack
import orjson

from dreamserve_protocol.arrays import pack

JSON, MSGPACK = "application/json", "application/msgpack"


class Row(NamedTuple):
    """Bytes to send, and the answer: status, code, and what the detail says."""

    sent: bytes
    status: int
    code: str
    detail: str


def message(method: str, path: str, body: bytes | None, *headers: str) -> bytes:
    """Return an HTTP request, with a length unless a header says how the body ends."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    framed = any(line.lower().startswith(("content-length", "transfer-")) for line in headers)
    if body is not None and not framed:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def post(path: str, body: bytes, *headers: str, form: str = JSON) -> bytes:
    return message("POST", path, body, f"Content-Type: {form}", *headers)


def json(path: str, **fields: Any) -> bytes:
    return post(path, orjson.dumps(fields))


def packed(path: str, **fields: Any) -> bytes:
    return post(path, msgpack.packb(fields, default=pack), form=MSGPACK)


def invalid(sent: bytes, detail: str) -> Row:
    return Row(sent, 422, "invalid_request", detail)


def not_finite(sent: bytes, detail: str) -> Row:
    return Row(sent, 422, "not_finite", detail)


def action(sent: bytes, detail: str) -> Row:
    return Row(sent, 422, "invalid_action", detail)


def too_large(sent: bytes, detail: str) -> Row:
    return Row(sent, 413, "too_large", detail)


def bad(sent: bytes, detail: str) -> Row:
    return Row(sent, 400, "bad_request", detail)
