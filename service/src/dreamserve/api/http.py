"""HTTP: converts path, headers and body to a verb's request, and its result to a response.

Each path has an ASGI application, an `Endpoint`. Only `app` is between it and the server; it
assigns request ids and converts errors to problems.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

from starlette.types import Message as Event
from starlette.types import Receive, Scope, Send

from dreamserve.api import codec
from dreamserve.api.access.clients import client_of
from dreamserve.api.bodies import Headers, Held, disconnected, read_body
from dreamserve.api.elements import SMALL_BYTES, Most, is_quick
from dreamserve.api.problems import OTHER
from dreamserve.api.responses import BytesResponse, options_response
from dreamserve.api.service import Service
from dreamserve.api.timeouts import timeout_s_of
from dreamserve.validation import Validate, text_validator, validator
from dreamserve_protocol.errors import InvalidRequestError, UnsupportedMediaTypeError
from dreamserve_protocol.markers import Message, Request
from dreamserve_protocol.pictures import UNBOUNDED, PngBounds
from dreamserve_protocol.verbs import Verb

MAX_QUERY_FIELDS = 128
_SHOWN, _SHOWN_NAMES = 80, 5  # of unknown fields: characters of each, and names


class _Route(NamedTuple):
    """Properties of a verb that every request needs, looked up once."""

    verb: str
    validate: Validate
    has_body: bool
    of_session: bool
    body: str | None
    query: bool  # whether the fields are in the query string
    is_large: bool  # whether its result may be

    @classmethod
    def of(cls, verb: Verb) -> Self:
        query, is_large = bool(verb.query_fields), verb.result in codec.LARGE_RESULTS
        validate = text_validator(verb.request) if query else validator(verb.request)
        return cls(verb.name, validate, verb.has_body, verb.of_session, verb.body, query, is_large)


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
        held = Held(self._service.connections.bodies, scope)
        try:
            await self._serve(self._verbs[method], scope, receive, send, held)
        finally:
            held.free()

    async def _serve(
        self, route: _Route, scope: Scope, receive: Receive, send: Send, held: Held
    ) -> None:
        service = self._service
        headers: Headers = scope["state"]["headers"]
        body = b""
        if route.has_body:
            body = await read_body(receive, headers, service.settings.max_body_bytes, held)
        query = scope["query_string"]
        if route.query:
            request = _queried(route, query)
        else:
            if query:
                _refuse_fields(query)
            path = scope.get("path_params", {})
            build = partial(_request_of, route, body, headers, path, service.most)
            request = await service.png.built(build, _is_quick(body, headers))
        scope["state"]["request"] = request  # for the logs
        if route.is_large:
            service.check_room(request, client_of(scope))
        caller, timeout_s = scope["state"]["caller"], timeout_s_of(headers)
        result = await service.async_engine.send(
            request, partial(disconnected, receive), caller, timeout_s
        )
        png = codec.wants_png(request)
        size = codec.bytes_of(request, result)
        if codec.is_large(size, png):
            await self._send_large(result, size, png, scope, receive, send)
        else:
            await _response_of(result, headers, png)(scope, receive, send)

    async def _send_large(
        self, result: Message, size: int, png: bool, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send a large result, which a thread encodes as soon as there is room for that."""
        shared, client = self._service.connections, client_of(scope)
        as_msgpack = codec.prefers_msgpack(scope["state"]["headers"].get(b"accept", b""))
        growth = 1 if as_msgpack else codec.JSON_GROWTH
        shared.results.hold(size, client)
        try:
            encoded = await shared.responses.wait_for(growth * size, client)
            try:
                body = await self._service.aside(
                    partial(codec.encode_large, result, as_msgpack, png)
                )
            except BaseException:
                shared.responses.free(encoded, client)
                raise
        finally:
            shared.results.free(size, client)

        async def counted(event: Event) -> None:
            nonlocal encoded
            if event["type"] == "http.response.body":  # what is unread of it counts from now
                shared.responses.free(encoded, client)
                encoded = 0
            await send(event)

        try:
            await _encoded(body, as_msgpack)(scope, receive, counted)
        finally:
            shared.responses.free(encoded, client)


def _is_quick(body: bytes, headers: Headers) -> bool:
    return len(body) <= SMALL_BYTES or is_quick(
        body, b"msgpack" in headers.get(b"content-type", b"").lower()
    )


def _request_of(
    route: _Route,
    body: bytes,
    headers: Headers,
    path: dict[str, str],
    most: Most,
    bounds: PngBounds,
) -> Request[Any]:
    """Return the verb's request from a body, the headers and the path."""
    fields: dict[str, Any] = {}
    if body:
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaTypeError("the body is compressed; send it uncompressed")
        fields = codec.decode(body, codec.is_msgpack(headers.get(b"content-type", b"")), most)
    if route.body is not None:
        fields = {route.body: fields}
    for name, value in path.items():
        _set(fields, name, value, "the path")
    if route.of_session and (in_header := headers.get(b"x-session-id")):
        _set(fields, "session_id", _single(in_header), "the header x-session-id")
    request: Request[Any] = route.validate(fields, bounds)
    return request


def _queried(route: _Route, query: bytes) -> Request[Any]:
    """Return the verb's request from a query string; each field is once in it."""
    pairs = _pairs_of(query)
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InvalidRequestError("the query has a field twice")
    request: Request[Any] = route.validate(fields, UNBOUNDED)
    return request


def _refuse_fields(query: bytes) -> None:
    """Raise InvalidRequestError if a query string has fields, for a verb that has none there."""
    names = dict.fromkeys(name[:_SHOWN] for name, _ in _pairs_of(query))
    if names:
        lines = [f"{name}: is not a known field of the query" for name in [*names][:_SHOWN_NAMES]]
        raise InvalidRequestError("; ".join(lines))


def _pairs_of(query: bytes) -> list[tuple[str, str]]:
    if query.count(b"&") >= MAX_QUERY_FIELDS:
        raise InvalidRequestError(f"the query has more than {MAX_QUERY_FIELDS} fields")
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True)


def _single(in_header: bytes) -> str:
    """Return the session that x-session-id names. Raises InvalidRequestError for several."""
    session_id = in_header.decode("latin-1")
    if "," in session_id:
        shown = session_id[:_SHOWN]
        raise InvalidRequestError(f"the header x-session-id names one session, not {shown}")
    return session_id


def _set(fields: dict[str, Any], name: str, value: str, where: str) -> None:
    """Set a field that is absent or null. Raises InvalidRequestError if it has another value."""
    if fields.get(name) is None:
        fields[name] = value
    elif fields[name] != value:
        raise InvalidRequestError(f"{where} and {name} differ")


def _response_of(result: Message | None, headers: Headers, png: bool) -> BytesResponse:
    """Return a result in the format that Accept selects."""
    if result is None:
        return BytesResponse(b"", status=204)
    as_msgpack = codec.prefers_msgpack(headers.get(b"accept", b""))
    return _encoded(codec.encode(result, as_msgpack, png), as_msgpack)


def _encoded(body: bytes, as_msgpack: bool) -> BytesResponse:
    return BytesResponse(body, codec.MSGPACK if as_msgpack else codec.JSON)
