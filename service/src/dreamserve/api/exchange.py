"""One request's way through the door: read and check the body, ask the engine, write the answer."""

import asyncio
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from fastapi import Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from dreamserve.api import codec
from dreamserve.api.limits import check_work
from dreamserve.api.problems import from_validation
from dreamserve.api.schemas import Body
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

# Bodies above this are parsed or written in a thread, so that the event loop goes on.
LARGE_BYTES = 64 * 1024
# Most answers come sooner than this; only for the others is the client watched for leaving.
UNWATCHED_S = 0.05

B = TypeVar("B", bound=Body)


@dataclass(slots=True)
class Service:
    """What every handler shares: the engine, the settings, and whether the door is open."""

    engine: Engine
    settings: Settings
    draining: bool = False
    failure: Exception | None = None  # why the engine could not start

    @classmethod
    def of(cls, request: Request) -> "Service":
        """Return the service that `request` came to."""
        return cast(Service, request.app.state.service)


async def read(request: Request, model: type[B]) -> B:
    """Return the request's body as a checked `model`.

    Raises CallerError with what was wrong and where, or ClientDisconnect.
    """
    settings = Service.of(request).settings
    raw = await _read_bounded(request, settings.max_body_bytes)
    content_type = request.headers.get("content-type", "")
    session_id = request.headers.get("x-session-id")
    if len(raw) > LARGE_BYTES:
        return await asyncio.to_thread(_parse, raw, content_type, session_id, model, settings)
    return _parse(raw, content_type, session_id, model, settings)


async def _read_bounded(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLargeError(f"the body has {declared} bytes, the bound is {limit}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLargeError(f"the body has more than {limit} bytes, which is the bound")
    return bytes(body)


def _parse(
    raw: bytes, content_type: str, session_id: str | None, model: type[B], settings: Settings
) -> B:
    fields = codec.decode(raw, content_type)
    if session_id is not None:
        require_same_session(session_id, fields.setdefault("session_id", session_id))
    try:
        body = model.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error) from None
    check_work(body, settings)
    return body


def require_same_session(in_header: str | None, named: Any) -> None:
    """Raise InvalidRequestError when the header x-session-id names another session."""
    if in_header is not None and in_header != named:
        raise InvalidRequestError("the header x-session-id and session_id differ")


async def ask(request: Request, question: engine.Request) -> engine.Result:
    """Return the engine's answer; a client that leaves before it comes takes its question back."""
    future = asyncio.wrap_future(Service.of(request).engine.submit(question))
    try:
        done, _ = await asyncio.wait({future}, timeout=UNWATCHED_S)
        if not done:
            await _until_done_or_gone(request, future)
        return future.result()
    finally:
        future.cancel()


async def _until_done_or_gone(request: Request, future: asyncio.Future[engine.Result]) -> None:
    gone = asyncio.create_task(_disconnected(request))
    either: set[asyncio.Future[Any]] = {future, gone}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
    if not future.done():
        raise ClientDisconnect


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


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


async def answer(request: Request, value: Any) -> Response:
    """Return `value`, a result of the engine or a dict, in the form that Accept asks for."""
    fields = value if isinstance(value, dict) else codec.as_fields(value)
    as_msgpack = codec.prefers_msgpack(request.headers.get("accept", ""))
    if isinstance(value, engine.SampleResult):
        body = await asyncio.to_thread(codec.encode, fields, as_msgpack)
    else:
        body = codec.encode(fields, as_msgpack)
    return Response(body, media_type=codec.MSGPACK if as_msgpack else codec.JSON)
