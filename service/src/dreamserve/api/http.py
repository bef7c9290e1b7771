"""HTTP: converts path, headers and body to a verb's request, and its result to a response.

Each path has an ASGI application, an `Endpoint`. Only `app` is between it and the server; it
assigns request ids and converts errors to problems.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from dreamserve.api import codec
from dreamserve.api.async_engine import Service
from dreamserve.api.bodies import Headers, disconnected, read_body
from dreamserve.api.problems import OTHER
from dreamserve.api.responses import BytesResponse, options_response
from dreamserve.validation import Validate, text_validator, validator
from dreamserve_protocol.errors import InvalidRequestError, UnsupportedMediaTypeError
from dreamserve_protocol.markers import Message, Request
from dreamserve_protocol.pictures import UNBOUNDED, PngBounds
from dreamserve_protocol.verbs import Verb


class _Route(NamedTuple):
    """Properties of a verb that every request needs, looked up once."""

    verb: str
    validate: Validate
    has_body: bool
    of_session: bool
    body: str | None
    query: bool  # whether the fields are in the query string

    @classmethod
    def of(cls, verb: Verb) -> Self:
        query = bool(verb.query_fields)
        validate = text_validator(verb.request) if query else validator(verb.request)
        return cls(verb.name, validate, verb.has_body, verb.of_session, verb.body, query)


class Endpoint:
    """All verbs of one path."""

    def __init__(self, service: Service, verbs: Sequence[Verb]) -> None:
        self._service = service
        self._verbs: dict[str, _Route] = {verb.method: _Route.of(verb) for verb in verbs}
        heads = {"HEAD"} if "GET" in self._verbs else set()
        self.allowed = ", ".join(sorted({*self._verbs, *heads, "OPTIONS"}))

    def verb_of(self, method: str) -> str:
        """Return the name of the verb that a method stands for."""
        route = self._verbs.get("GET" if method == "HEAD" else method)
        return OTHER if route is None else route.verb

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
        if route.query:
            request = _queried(route, scope["query_string"])
        else:
            build = partial(_request_of, route, body, headers, scope.get("path_params", {}))
            request = await self._service.png.built(build, len(body))
        scope["state"]["request"] = request  # for the logs
        caller = scope["state"]["caller"]
        result = await self._service.async_engine.send(
            request, partial(disconnected, receive), caller
        )
        response = await _response_of(result, headers, codec.wants_png(request))
        await response(scope, receive, send)


def _request_of(
    route: _Route, body: bytes, headers: Headers, path: dict[str, str], bounds: PngBounds
) -> Request[Any]:
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
    request: Request[Any] = route.validate(fields, bounds)
    return request


def _queried(route: _Route, query: bytes) -> Request[Any]:
    """Return the verb's request from a query string; each field is once in it."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InvalidRequestError("the query has a field twice")
    request: Request[Any] = route.validate(fields, UNBOUNDED)
    return request


def _set(fields: dict[str, Any], name: str, value: str, where: str) -> None:
    """Set a field. Raises InvalidRequestError if the body has another value for it."""
    if fields.setdefault(name, value) != value:
        raise InvalidRequestError(f"{where} and {name} differ")


async def _response_of(result: Message | None, headers: Headers, png: bool) -> BytesResponse:
    """Return a result in the format that Accept selects; a thread encodes large ones."""
    if result is None:
        return BytesResponse(b"", status=204)
    as_msgpack = codec.prefers_msgpack(headers.get(b"accept", b""))
    media_type = codec.MSGPACK if as_msgpack else codec.JSON
    if codec.is_large(result, png):
        body = await asyncio.to_thread(codec.encode, result, as_msgpack, png)
    else:
        body = codec.encode(result, as_msgpack, png)
    return BytesResponse(body, media_type)
