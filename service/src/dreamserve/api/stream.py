"""The stream: any verb over one WebSocket, for many sessions at once.

    {"id": 7, "verb": "step", "body": {…}}   →   {"id": 7, "status": 200, "body": {…}}

A message may also hold `timeout_s`, the seconds after which its sender gives up.
Text frames are JSON, binary frames msgpack; the response has the format of the request. Requests
for one session are processed in order; responses for different sessions may change order. At most
`max_stream_requests` are in progress, including those whose responses the peer has not read; beyond
that the socket is not read. A session outlives its socket and is continued by its id and step.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from dreamserve.api import codec
from dreamserve.api.access.callers import ANYONE, Caller
from dreamserve.api.access.clients import client_of
from dreamserve.api.access.handshakes import accept
from dreamserve.api.access_log import log_request
from dreamserve.api.elements import LARGE_BYTES, SMALL_BYTES, is_quick
from dreamserve.api.messages import VALIDATORS, Id, id_in, id_of, request_of, timeout_s_of
from dreamserve.api.problems import OTHER, VALID_ID, problem_of
from dreamserve.api.service import Service
from dreamserve.api.websocket import WRITABLE
from dreamserve_protocol.errors import OverloadedError, ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.wire import with_png

REFUSED_AT_ONCE = 16  # messages of a socket, before other connections have their turn
STREAMS_AT_ONCE = 4  # that may hold large bodies; one with more of them is not read meanwhile

Encode = Callable[[Any, bool], bytes]

log = logging.getLogger("dreamserve")


@dataclass(slots=True, eq=False)
class Pending:
    """A request in progress. It acts as the future of its outcome, which it hands to `respond`."""

    respond: Callable[["Pending"], None]
    as_msgpack: bool  # format of the request and of the response
    began_s: float
    number: int  # of the message on its socket, from 1
    id: Id = None
    verb: Any = None  # as named by the peer
    request: Request[Any] | None = None
    png: bool = False  # whether its frames are sent as PNG files
    outcome: Any = None  # result or exception
    dropped: bool = False  # whether the socket is closed
    body_bytes: int = 0  # that it holds, if its body is large
    result_bytes: int = 0  # of arrays and lists

    def cancelled(self) -> bool:
        """Return whether the socket is closed."""
        return self.dropped

    done = cancelled

    def set_result(self, result: Any) -> None:
        """Respond with a result, or with an exception."""
        self.outcome = result
        self.respond(self)

    set_exception = set_result


class Stream:
    """An ASGI application that serves sockets."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket until its peer disconnects."""
        await accept(scope, receive, send)
        writable = scope.get("extensions", {}).get(WRITABLE) or _always_set()
        self._service.open_sockets["stream"] += 1
        try:
            await Socket(self._service, scope, receive, send, writable).serve()
        finally:
            self._service.open_sockets["stream"] -= 1


class Socket:
    """One socket: a task that reads requests, and one that writes responses."""

    def __init__(
        self,
        service: Service,
        scope: Scope,
        receive: Receive,
        send: Send,
        writable: asyncio.Event,
    ) -> None:
        self._name: str = scope["state"]["request_id"]
        self._caller: Caller = scope["state"]["caller"]
        self._client = client_of(scope)
        # Apart from messages that are being received: those are refused, these only wait.
        self._in_work = f"{self._client}, in progress"
        self._service, self._shared = service, service.connections
        self._engine, self._png = service.async_engine, service.png
        self._writable = writable  # set while the peer reads
        self._most = service.settings.max_stream_requests
        self._share_bytes = service.settings.max_bodies_bytes // STREAMS_AT_ONCE
        self._body_bytes = 0  # of the requests in progress
        self._messages = self._refused = 0  # that were read, and those that were not served
        self._logs_all = service.settings.access_log
        self._receive, self._send = receive, send
        self._in_progress: set[Pending] = set()  # read and not yet written
        self._ended: list[Pending] = []  # to be written
        self._to_write, self._has_room = asyncio.Event(), asyncio.Event()

    @property
    def in_progress(self) -> bool:
        """Whether requests are not answered yet."""
        return bool(self._in_progress)

    async def serve(self) -> None:
        """Serve requests until the peer disconnects; then cancel the waiting ones."""
        self._shared.sockets.add(self)
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._shared.sockets.discard(self)
            for task in tasks:
                task.cancel()
            for pending in self._in_progress:
                pending.dropped = True
                self._free(pending)
        for error in filter(None, (task.exception() for task in done)):
            log.error("unexpected error, request_id %s", self._name, exc_info=error)
            await self._send({"type": "websocket.close", "code": 1011, "reason": "internal_error"})

    async def _read(self) -> None:
        """Read messages while below the limit; end when the peer disconnects."""
        # One message is read ahead, to notice a disconnect while the limit is reached.
        while (message := await self._receive())["type"] != "websocket.disconnect":
            while len(self._in_progress) >= self._most or self._has_its_share:
                self._has_room.clear()
                await self._has_room.wait()
            await self._take(message)

    @property
    def _has_its_share(self) -> bool:
        """Whether large bodies of this socket, or of all of its client's, leave no room."""
        if not self._body_bytes:
            return False
        lacks = self._shared.bodies.lacks_of(self._in_work, LARGE_BYTES)
        return lacks > 0 or self._body_bytes >= self._share_bytes

    async def _take(self, message: Message) -> None:
        """Queue the request in a message."""
        text = message.get("text")
        raw = message["bytes"] if text is None else text.encode()
        self._messages += 1
        pending = Pending(self._respond, text is None, perf_counter(), self._messages)
        self._in_progress.add(pending)
        try:
            self._check(pending, raw)
            is_small = len(raw) <= SMALL_BYTES or is_quick(raw, pending.as_msgpack)
            decode = partial(codec.decode, raw, pending.as_msgpack, self._service.most)
            if len(raw) > LARGE_BYTES:
                pending.body_bytes = len(raw)
                self._body_bytes += len(raw)
                self._shared.bodies.hold(len(raw), self._in_work)
            fields = decode() if is_small else await self._service.aside(decode)
            pending.id = id_of(fields)
            pending.verb = fields.get("verb")
            request = await self._png.built(partial(request_of, fields), is_small)
            pending.request, pending.png = request, codec.wants_png(request)
            self._service.check_room(request, self._client)
            self._engine.queue(request, pending, self._caller, timeout_s_of(fields))
        except Exception as error:
            pending.set_exception(error)
            self._refused += 1
            if not self._refused % REFUSED_AT_ONCE:
                await asyncio.sleep(0)

    def _check(self, pending: Pending, raw: bytes) -> None:
        """Count a message before it is decoded. Raises RateLimitedError, UnauthorizedError."""
        if self._caller is ANYONE:
            return
        try:
            self._caller.check()
        except ProblemError:
            pending.id = id_in(raw, pending.as_msgpack)
            raise

    def _free(self, pending: Pending) -> None:
        """Give back what a request held."""
        self._body_bytes -= pending.body_bytes
        self._shared.bodies.free(pending.body_bytes, self._in_work)
        self._shared.results.free(pending.result_bytes, self._client)
        pending.body_bytes = pending.result_bytes = 0

    def _respond(self, pending: Pending) -> None:
        error = pending.outcome
        if isinstance(error, OverloadedError):
            delay_s = self._engine.refusals.delay_s(self._caller.owner, pending.request, error)
            asyncio.get_running_loop().call_later(delay_s, self._end, pending)
            return
        pending.result_bytes = codec.bytes_of(pending.request, pending.outcome)
        if pending.result_bytes:
            self._shared.results.hold(pending.result_bytes, self._client)
        self._end(pending)

    def _end(self, pending: Pending) -> None:
        self._ended.append(pending)
        self._to_write.set()

    async def _write(self) -> None:
        """Write responses as they are ready; `send` waits while the peer does not read."""
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            ended, self._ended = self._ended, []
            for pending in ended:
                try:
                    if codec.is_large(pending.result_bytes, pending.png):
                        await self._send_large(pending)
                    else:
                        await self._send(self._frame(pending))
                except OSError:
                    return  # the peer has disconnected
                if pending.body_bytes or pending.result_bytes:
                    self._free(pending)
                self._in_progress.discard(pending)
            self._has_room.set()

    async def _send_large(self, pending: Pending) -> None:
        """Send a large result once the peer reads, and there is room for it; a thread encodes."""
        growth = 1 if pending.as_msgpack else codec.JSON_GROWTH
        await self._writable.wait()
        responses = self._shared.responses
        encoded = await responses.wait_for(pending.result_bytes * growth, self._client)
        try:
            frame = await self._service.aside(partial(self._frame, pending, codec.encode_large))
        finally:
            responses.free(encoded, self._client)  # from now on, what is unread of it counts
        await self._send(frame)

    def _frame(self, pending: Pending, encode: Encode = codec.encode) -> Message:
        """Return a response as a message to send."""
        id, outcome = pending.id, pending.outcome
        response: dict[str, Any] = {"id": id, "status": 200, "body": outcome}
        if isinstance(outcome, Exception):
            known = self._describe(pending)
            self._service.problems.note(outcome, **known)
            error, document = problem_of(outcome, known["request_id"])
            response |= {"status": error.status, "body": document}
        elif outcome is None:
            response = {"id": id, "status": 204}
        elif pending.png:
            response["body"] = with_png(outcome)
        if self._logs_all:
            log_request(response["status"], **self._describe(pending), transport="stream")
        raw = encode(response, pending.as_msgpack)
        if pending.as_msgpack:
            return {"type": "websocket.send", "bytes": raw}
        return {"type": "websocket.send", "text": raw.decode()}

    def _describe(self, pending: Pending) -> dict[str, Any]:
        """Return what is known of a request, as `Problems.note` takes it."""
        id, verb = str(pending.id), pending.verb
        if pending.id is None or not VALID_ID.fullmatch(id):
            id = f"message-{pending.number}"
        return {
            "request_id": f"{self._name}.{id}",
            "verb": verb if isinstance(verb, str) and verb in VALIDATORS else OTHER,
            "session_id": getattr(pending.request, "session_id", None),
            "duration_s": perf_counter() - pending.began_s,
        }


def _always_set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event
