"""The stream: any verb over one WebSocket, for many sessions at once.

    {"id": 7, "verb": "step", "body": {…}}   →   {"id": 7, "status": 200, "body": {…}}

Text frames are JSON, binary frames msgpack; the response has the format of the request. Requests
for one session are processed in order; responses for different sessions may change order. At most
`max_stream_requests` are in progress, including those whose responses the peer has not read; beyond
that the socket is not read. A session outlives its socket and is continued by its id and step.
"""

import asyncio
import logging
from functools import partial
from typing import Any, NamedTuple

from starlette.types import Message, Receive, Scope, Send

from dreamserve.api import codec
from dreamserve.api.async_engine import Service
from dreamserve.api.problems import VALID_ID, problem_of
from dreamserve.validation import validator
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.verbs import VERBS

MAX_ID = 128  # characters of a string id
_VALIDATORS = {verb.name: validator(verb.request) for verb in VERBS}
_KEYS = {"id", "verb", "body"}

log = logging.getLogger("dreamserve")

Id = int | str | None


class Envelope(NamedTuple):
    """The id of a request, and the format of its response."""

    id: Id
    as_msgpack: bool


class Stream:
    """An ASGI application that serves sockets."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket until its peer disconnects."""
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        await Socket(self._service, scope["state"]["request_id"], receive, send).serve()


class Socket:
    """One socket: a task that reads requests, and one that writes responses."""

    def __init__(self, service: Service, name: str, receive: Receive, send: Send) -> None:
        self._engine = service.async_engine
        self._most = service.settings.max_stream_requests
        self._name, self._receive, self._send = name, receive, send
        self._waiting: dict[asyncio.Future[Any], Envelope] = {}
        self._outcomes: list[tuple[Envelope, Any]] = []  # results and errors to be written
        self._in_progress = 0  # read and not yet written
        self._to_write, self._has_room = asyncio.Event(), asyncio.Event()

    async def serve(self) -> None:
        """Serve requests until the peer disconnects; then cancel the waiting ones."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for future in list(self._waiting):
                future.cancel()
        for error in filter(None, (task.exception() for task in done)):
            log.error("unexpected error, request_id %s", self._name, exc_info=error)
            await self._send({"type": "websocket.close", "code": 1011, "reason": "internal_error"})

    async def _read(self) -> None:
        """Read messages while below the limit; end when the peer disconnects."""
        # One message is read ahead, to notice a disconnect while the limit is reached.
        while (message := await self._receive())["type"] != "websocket.disconnect":
            while self._in_progress >= self._most:
                self._has_room.clear()
                await self._has_room.wait()
            await self._take(message)

    async def _take(self, message: Message) -> None:
        """Queue the request in a message."""
        text = message.get("text")
        raw = message["bytes"] if text is None else text.encode()
        envelope = Envelope(None, text is None)
        self._in_progress += 1
        try:
            if len(raw) <= codec.LARGE_BYTES:
                fields = codec.decode(raw, envelope.as_msgpack)
            else:
                fields = await asyncio.to_thread(codec.decode, raw, envelope.as_msgpack)
            envelope = Envelope(_id_of(fields), envelope.as_msgpack)
            future = self._engine.queue(_request_of(fields))
        except Exception as error:
            self._respond(envelope, error)
            return
        self._waiting[future] = envelope
        future.add_done_callback(self._done)

    def _done(self, future: asyncio.Future[Any]) -> None:
        envelope = self._waiting.pop(future)
        if not future.cancelled():
            self._respond(envelope, future.exception() or future.result())

    def _respond(self, envelope: Envelope, outcome: Any) -> None:
        self._outcomes.append((envelope, outcome))
        self._to_write.set()

    async def _write(self) -> None:
        """Write responses as they are ready; `send` waits while the peer does not read."""
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            outcomes, self._outcomes = self._outcomes, []
            for envelope, outcome in outcomes:
                frame = await self._framed(envelope, outcome)
                try:
                    await self._send(frame)
                except OSError:
                    return  # the peer has disconnected
                self._in_progress -= 1
            self._has_room.set()

    async def _framed(self, envelope: Envelope, outcome: Any) -> Message:
        """Return a response as a frame; a thread encodes large ones."""
        response: dict[str, Any] = {"id": envelope.id, "status": 200, "body": outcome}
        if isinstance(outcome, Exception):
            named = f".{envelope.id}" if VALID_ID.fullmatch(str(envelope.id)) else ""
            error, document = problem_of(outcome, self._name + named)
            response |= {"status": error.status, "body": document}
        elif outcome is None:
            response = {"id": envelope.id, "status": 204}
        encode = partial(codec.encode, response, envelope.as_msgpack)
        raw = await asyncio.to_thread(encode) if codec.is_large(outcome) else encode()
        if envelope.as_msgpack:
            return {"type": "websocket.send", "bytes": raw}
        return {"type": "websocket.send", "text": raw.decode()}


def _id_of(fields: dict[str, Any]) -> Id:
    """Return a request's id. Raises InvalidRequestError."""
    given = fields.get("id")
    if type(given) is int or (type(given) is str and len(given) <= MAX_ID):
        return given
    raise InvalidRequestError(f"id must be an integer, or a string of at most {MAX_ID} characters")


def _request_of(fields: dict[str, Any]) -> Request[Any]:
    """Return the request in a message. Raises as validation does."""
    if unknown := fields.keys() - _KEYS:
        named = sorted(map(str, unknown))[:5]  # of msgpack, not all of them need be texts
        raise InvalidRequestError(f"a message has id, verb and body, not {named}")
    name, body = fields.get("verb"), fields.get("body", {})
    if not isinstance(name, str) or name not in _VALIDATORS:
        raise InvalidRequestError(f"verb must be one of {', '.join(_VALIDATORS)}")
    if not isinstance(body, dict):
        raise InvalidRequestError("body must be an object: the verb's fields")
    request: Request[Any] = _VALIDATORS[name](body)
    return request
