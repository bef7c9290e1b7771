"""One request's way through the door: read and check the body, ask the engine, write the answer."""

import asyncio
from collections.abc import Awaitable
from dataclasses import is_dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
from fastapi import Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dreamserve.api import codec
from dreamserve.api.limits import check_work
from dreamserve.api.problems import from_validation
from dreamserve.api.schemas import Body
from dreamserve.api.turns import Turns
from dreamserve.engine import types as engine
from dreamserve.engine.loop import Engine
from dreamserve.errors import (
    DrainingError,
    InvalidRequestError,
    SessionExpiredError,
    SessionNotFoundError,
    TooLargeError,
)
from dreamserve.settings import Settings

# Bodies above this are parsed in a thread, so that the event loop goes on.
LARGE_BYTES = 64 * 1024
LARGE_ANSWER_BYTES = 256 * 1024

B = TypeVar("B", bound=Body)


class Service:
    """What every handler shares: the engine, the settings, and whether the door is open."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.draining = False
        self.failure: Exception | None = None  # why the engine could not start

    @cached_property
    def turns(self) -> Turns:
        """The way to the engine, of the event loop that first asks."""
        return Turns(self.engine)

    @classmethod
    def of(cls, request: Request) -> "Service":
        """Return the service that `request` came to."""
        return cast(Service, request.scope["state"]["service"])


def header(request: Request, name: bytes) -> bytes:
    """Return a header's value, empty if it is not there; `name` in lower case."""
    headers: dict[bytes, bytes] = request.scope["state"]["headers"]
    return headers.get(name, b"")


async def read(request: Request, model: type[B]) -> B:
    """Return the request's body as a checked `model`.

    Raises CallerError with what was wrong and where, or ClientDisconnect.
    """
    settings = Service.of(request).settings
    raw = await _read_bounded(request, settings.max_body_bytes)
    if len(raw) <= LARGE_BYTES:
        return _parse(request, raw, model, settings)
    return await asyncio.to_thread(_parse, request, raw, model, settings)


async def _read_bounded(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        # What is declared is looked at only where more is to come: a short body is here by now.
        declared = header(request, b"content-length") if more else b""
        if size > limit or (declared.isdigit() and int(declared) > limit):
            raise TooLargeError(f"the body is over the bound of {limit} bytes")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _parse(request: Request, raw: bytes, model: type[B], settings: Settings) -> B:
    fields = codec.decode(raw, header(request, b"content-type"))
    in_header = header(request, b"x-session-id")
    if in_header and "session_id" in model.model_fields:
        named = fields.setdefault("session_id", in_header.decode("latin-1"))
        require_same_session(in_header, named)
    try:
        body = model.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error) from None
    check_work(body, settings)
    return body


def require_same_session(in_header: bytes, named: Any) -> None:
    """Raise InvalidRequestError when the header x-session-id, if any, names another session."""
    if in_header and in_header.decode("latin-1") != named:
        raise InvalidRequestError("the header x-session-id and session_id differ")


def ask(request: Request, question: engine.Request) -> Awaitable[engine.Result]:
    """Return the engine's answer; a client that leaves before it comes takes its question back."""
    return Service.of(request).turns.ask(question, request.receive)


async def refuse_new_sessions(request: Request, session_id: str | None) -> None:
    """Raise DrainingError unless the server takes new sessions or this one is known."""
    if not Service.of(request).draining:
        return
    try:
        if session_id is not None:
            await ask(request, engine.SessionQuery(session_id))
            return
    except (SessionNotFoundError, SessionExpiredError):
        pass
    raise DrainingError("the server is shutting down and takes no new sessions")


class Encoded(Response):
    """A 200 with its body as bytes; what Starlette works out for each response is known here."""

    def __init__(self, body: bytes, content_type: bytes) -> None:
        self.status_code, self.background, self.body = 200, None, body
        length = str(len(body)).encode()
        self.raw_headers = [(b"content-type", content_type), (b"content-length", length)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def answer(request: Request, value: Any) -> Response:
    """Return `value`, a result of the engine or a dict, in the form that Accept asks for."""
    fields = value if isinstance(value, dict) else codec.as_fields(value)
    if isinstance(value, engine.StepBatchResult | engine.ResetBatchResult):
        fields["errors"] = codec.row_errors(value.errors)
    if codec.prefers_msgpack(header(request, b"accept")):
        return Encoded(codec.encode(fields, as_msgpack=True), codec.MSGPACK.encode())
    return Encoded(codec.encode(fields, as_msgpack=False), codec.JSON.encode())


async def answer_rows(request: Request, value: engine.Result) -> Response:
    """Return `value`, whose rows may be many: then a thread writes it and the loop goes on."""
    if _array_bytes(value) <= LARGE_ANSWER_BYTES:
        return answer(request, value)
    return await asyncio.to_thread(answer, request, value)


def _array_bytes(value: Any) -> int:
    """Return what the arrays in a result take, those in its parts too."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if is_dataclass(value):
        value = codec.as_fields(value)
    return sum(map(_array_bytes, value.values())) if isinstance(value, dict) else 0
