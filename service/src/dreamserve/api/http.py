"""HTTP: converts path, headers and body to a verb's request, and its result to a response.

Each path has an ASGI application, an `Endpoint`. Only `app` is between it and the server; it
assigns request ids and converts errors to problems.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from math import inf, nan
from typing import Any, NamedTuple, Self

from starlette.types import Receive, Scope, Send

from dreamserve.api import codec
from dreamserve.api.async_engine import Service
from dreamserve.api.bodies import Headers, disconnected, read_body
from dreamserve.api.responses import BytesResponse, options_response
from dreamserve.validation import Validate, validator
from dreamserve_protocol.errors import InvalidRequestError, UnsupportedMediaTypeError
from dreamserve_protocol.markers import Message, Request
from dreamserve_protocol.verbs import Verb


class _Route(NamedTuple):
    """Properties of a verb that every request needs, looked up once."""

    validate: Validate
    has_body: bool
    of_session: bool
    body: str | None

    @classmethod
    def of(cls, verb: Verb) -> Self:
        return cls(validator(verb.request), verb.has_body, verb.of_session, verb.body)


class Endpoint:
    """All verbs of one path."""

    def __init__(self, service: Service, verbs: Sequence[Verb]) -> None:
        self._service = service
        self._verbs = {verb.method: _Route.of(verb) for verb in verbs}
        heads = {"HEAD"} if "GET" in self._verbs else set()
        self.allowed = ", ".join(sorted({*self._verbs, *heads, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises ProblemError, CallerGoneError."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in self._verbs:
            await options_response(method, self.allowed)(scope, receive, send)
            return
        route = self._verbs[method]
        headers: Headers = scope["state"]["headers"]
        limit = self._service.settings.max_body_bytes
        body = await read_body(receive, headers, limit) if route.has_body else b""
        build = partial(_request_of, route, body, headers, scope.get("path_params", {}))
        request = build() if len(body) <= codec.LARGE_BYTES else await asyncio.to_thread(build)
        result = await self._service.async_engine.send(
            request, partial(disconnected, receive), _timeout_s(headers)
        )
        response = await _response_of(result, headers)
        await response(scope, receive, send)


def _request_of(route: _Route, body: bytes, headers: Headers, path: dict[str, str]) -> Request[Any]:
    """Return the verb's request from a body, the headers and the path."""
    fields: dict[str, Any] = {}
    if body:
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaTypeError("the body is compressed; send it uncompressed")
        fields = codec.decode(body, codec.is_msgpack(headers.get(b"content-type", b"")))
    if route.body is not None:
        fields = {route.body: fields}
    for name, value in path.items():
        _set(fields, name, value, "the path")
    if route.of_session and (in_header := headers.get(b"x-session-id")):
        _set(fields, "session_id", in_header.decode("latin-1"), "the header x-session-id")
    request: Request[Any] = route.validate(fields)
    return request


def _timeout_s(headers: Headers) -> float:
    """Return the seconds after which the caller gives up. Raises InvalidRequestError."""
    given = headers.get(b"x-request-timeout")
    if given is None:
        return inf
    try:
        timeout_s = float(given)
    except ValueError:
        timeout_s = nan
    if not 0 < timeout_s < inf:
        raise InvalidRequestError(
            f"x-request-timeout must be a positive number of seconds, not {given[:40]!r}"
        )
    return timeout_s


def _set(fields: dict[str, Any], name: str, value: str, where: str) -> None:
    """Set a field. Raises InvalidRequestError if the body has another value for it."""
    if fields.setdefault(name, value) != value:
        raise InvalidRequestError(f"{where} and {name} differ")


async def _response_of(result: Message | None, headers: Headers) -> BytesResponse:
    """Return a result in the format that Accept selects; a thread encodes large ones."""
    if result is None:
        return BytesResponse(b"", status=204)
    as_msgpack = codec.prefers_msgpack(headers.get(b"accept", b""))
    media_type = codec.MSGPACK if as_msgpack else codec.JSON
    if codec.is_large(result):
        return BytesResponse(await asyncio.to_thread(codec.encode, result, as_msgpack), media_type)
    return BytesResponse(codec.encode(result, as_msgpack), media_type)
