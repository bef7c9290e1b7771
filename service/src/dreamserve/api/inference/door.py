"""The Open Inference Protocol (KServe v2) over HTTP, with Triton's extensions for sequences.

A world is a model, a session a sequence. The body of a request becomes a `Call`, whose result
becomes the outputs that were asked for. Steps have no numbers here: a request sent twice takes two.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Generic, NamedTuple, TypeVar

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dreamserve import __version__
from dreamserve.api import codec
from dreamserve.api.access.callers import Caller
from dreamserve.api.async_engine import Disconnected
from dreamserve.api.bodies import Headers, Held, disconnected, read_body
from dreamserve.api.elements import is_quick
from dreamserve.api.inference import tensors
from dreamserve.api.inference.catalog import Catalog
from dreamserve.api.inference.models import STATE
from dreamserve.api.inference.sequences import Asked, Call, Result, Sequences, asked_of
from dreamserve.api.problems import MEDIA_TYPE, headers_of, problem_of
from dreamserve.api.responses import BytesResponse, Static, options_response
from dreamserve.api.service import Service
from dreamserve.api.timeouts import timeout_s_of
from dreamserve.validation import validated
from dreamserve_protocol.errors import A_RESET, UnsupportedMediaTypeError
from dreamserve_protocol.markers import Message, Request
from dreamserve_protocol.reset import ResetResult
from dreamserve_protocol.wire import fields_of

ROOT = "/v2"
BINARY = "application/octet-stream"
SERVER = {
    "name": "dreamserve",
    "version": __version__,
    "extensions": [
        "binary_tensor_data",
        "model_configuration",
        "parameters",
        "sequence",
        "sequence(string_id)",
    ],
}
# None, too: tritonclient sends none. `check_origin` refuses web pages of other origins.
_MEDIA_TYPES = ("", codec.JSON, BINARY)
_SHOWN = 80

R = TypeVar("R")
Page = Callable[[Scope], dict[str, Any]]
Read = Callable[[Scope, bytes], R]
Respond = Callable[[R, "Sender"], Awaitable[BytesResponse]]


class Sender(NamedTuple):
    """Who sends a request, and how long they wait for its response."""

    caller: Caller
    disconnected: Disconnected
    until_s: float  # time of the event loop


@dataclass(frozen=True, slots=True, eq=False)
class IndexRequest(Message):
    """Asks for the list of models; `ready`: only for those that are ready."""

    ready: bool = False


class Post(Generic[R]):
    """An ASGI application that answers POST: `read` makes a request of the body."""

    def __init__(self, read: Read[R], respond: Respond[R], service: Service) -> None:
        self._read, self._respond, self._service = read, respond, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises ProblemError, CallerGoneError."""
        if scope["method"] != "POST":
            await options_response(scope["method"], "OPTIONS, POST")(scope, receive, send)
            return
        headers: Headers = scope["state"]["headers"]
        _check_media_type(headers)
        timeout_s = timeout_s_of(headers)
        held = Held(self._service.connections.bodies, scope)
        try:
            limit = self._service.settings.max_body_bytes
            body = await read_body(receive, headers, limit, held)
            read = partial(self._read, scope, body)
            quick = b"content-encoding" not in headers and is_quick(body, as_msgpack=False)
            request = read() if quick else await self._service.aside(read)
            until_s = asyncio.get_running_loop().time() + timeout_s
            caller, gone = scope["state"]["caller"], partial(disconnected, receive)
            response = await self._respond(request, Sender(caller, gone, until_s))
        finally:
            held.free()
        await response(scope, receive, send)


class Inference:
    """The requests of the protocol, over the worlds of a service."""

    def __init__(self, service: Service) -> None:
        self._service, self._catalog = service, Catalog(service.engine.served)

    @cached_property
    def _sequences(self) -> Sequences:
        """What runs requests, in the event loop that uses it first."""
        return Sequences(self._service.async_engine.insist, self._catalog)

    def routes(self) -> list[Route]:
        """Return the routes of the protocol."""
        server: dict[str, ASGIApp] = {
            "": _page(lambda _: SERVER),
            "/health/live": _page(self._live),
            "/health/ready": _page(self._ready),
            "/repository/index": self._post(self._read_index, self._index),
        }
        model: dict[str, ASGIApp] = {
            "": _page(lambda scope: self._catalog.find(*_path_of(scope)).metadata()),
            "/config": _page(lambda scope: self._catalog.find(*_path_of(scope)).config()),
            "/ready": _page(self._model_ready),
            "/infer": self._post(self._read_infer, self._infer),
        }
        models = (f"{ROOT}/models/{{world}}", f"{ROOT}/models/{{world}}/versions/{{version}}")
        return [
            *(Route(ROOT + path, app) for path, app in server.items()),
            *(Route(start + path, app) for start in models for path, app in model.items()),
        ]

    def _post(self, read: Read[R], respond: Respond[R]) -> Post[R]:
        return Post(read, respond, self._service)

    def _live(self, _: Scope) -> dict[str, Any]:
        self._service.check_alive()
        return {"live": True}

    def _ready(self, _: Scope) -> dict[str, Any]:
        self._service.check_ready()
        return {"ready": True}

    def _model_ready(self, scope: Scope) -> dict[str, Any]:
        """Tell whether sequences may begin on a model."""
        return {"name": self._catalog.find_loaded(*_path_of(scope)).name, **self._ready(scope)}

    def _split(self, scope: Scope, body: bytes) -> tuple[dict[str, Any], bytes]:
        headers: Headers = scope["state"]["headers"]
        limit, most = self._service.settings.max_body_bytes, self._service.most
        return tensors.split(body, headers, limit, most)

    def _read_index(self, scope: Scope, body: bytes) -> IndexRequest:
        fields, _ = self._split(scope, body or b"{}")
        return validated(IndexRequest, fields)

    async def _index(self, request: IndexRequest, _: Sender) -> BytesResponse:
        """List the models."""
        is_ready = self._service.engine.ready and not self._service.engine.draining
        state = {"state": "READY" if is_ready else "UNAVAILABLE", "reason": ""}
        models = self._catalog.loaded().values() if is_ready or not request.ready else ()
        return _json([{"name": one.name, "version": one.version, **state} for one in models])

    def _read_infer(self, scope: Scope, body: bytes) -> Asked:
        self._catalog.find(*_path_of(scope))
        return asked_of(*_path_of(scope), *self._split(scope, body))

    async def _infer(self, asked: Asked, sender: Sender) -> BytesResponse:
        """Begin, step and end a dream, as the request says, all within the sender's time."""
        engine, now_s = self._service.async_engine, asyncio.get_running_loop().time

        def ask(request: Request[Any]) -> Coroutine[Any, Any, Any]:
            left_s = sender.until_s - now_s()
            return engine.send(request, sender.disconnected, sender.caller, left_s)

        call = await self._sequences.call(asked, ask)
        return _response_of(call, await self._sequences.run(call, ask, sender.caller))


def _path_of(scope: Scope) -> tuple[str, str | None]:
    """Return the name and the version of the world in a path."""
    return scope["path_params"]["world"], scope["path_params"].get("version")


def _response_of(call: Call, result: Result) -> BytesResponse:
    """Return the outputs asked for; none after a request that only ended the dream."""
    parameters = {"sequence_id": call.parameters.sequence_id}
    head = {"model_name": call.model.name, "model_version": call.model.version}
    if result is not None:
        parameters["step"] = result.step
    if isinstance(result, ResetResult):
        parameters["seed"] = result.seed
    if call.id is not None:
        head["id"] = call.id
    declared = call.model.outputs
    outputs = call.outputs.items() if result is not None else ()
    values = [(declared[name], _value(result, name), binary) for name, binary in outputs]
    body, json_bytes = tensors.write({**head, "parameters": parameters}, values)
    if json_bytes is None:
        return BytesResponse(body, codec.JSON)
    return BytesResponse(body, BINARY, headers={tensors.JSON_LENGTH.decode(): str(json_bytes)})


def _value(result: Any, name: str) -> Any:
    """Return an output's value; a dream that has just begun has no reward and has not ended."""
    if name.startswith(STATE):
        return result.state[name.removeprefix(STATE)]
    return getattr(result, name, 0)


def _check_media_type(headers: Headers) -> None:
    named = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if named not in _MEDIA_TYPES:
        shown = named[:_SHOWN]
        raise UnsupportedMediaTypeError(f"Content-Type {shown}: send {codec.JSON} or {BINARY}")


def _page(make: Page) -> Static:
    return Static(lambda scope: _json(make(scope)))


def _json(value: Any) -> BytesResponse:
    return BytesResponse(codec.encode(value, as_msgpack=False), codec.JSON)


def inference_routes(service: Service) -> list[Route]:
    """Return the routes of the protocol over a service's worlds."""
    return Inference(service).routes()


def is_inference(path: str) -> bool:
    """Return whether a path is one of the protocol's, so that its clients read the error."""
    return path == ROOT or path.startswith(f"{ROOT}/")


def inference_problem(error: Exception, request_id: str) -> BytesResponse:
    """Return an error's problem, with the member `error` that the protocol's clients read."""
    answered, document = problem_of(error, request_id)
    detail = answered.detail.replace(A_RESET, "a request with sequence_start")
    fields = {"error": detail, **fields_of(document), "detail": detail}
    body = codec.encode(fields, as_msgpack=False)
    return BytesResponse(body, MEDIA_TYPE, answered.status, headers_of(answered))
