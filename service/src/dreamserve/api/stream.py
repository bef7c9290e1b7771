"""The stream door: any verb over one WebSocket, for many sessions at once.

    {"id": 7, "verb": "step", "body": {…}}   →   {"id": 7, "status": 200, "body": {…}}

Text frames are JSON, binary frames msgpack, and the answer has the question's form. Requests about
one session are served in the order they came; answers may overtake each other. At most
`max_stream_requests` are in progress: the socket is not read meanwhile, and an answer that its peer
does not read counts. A session outlives its socket, and is taken up again by its id and step.
"""

import asyncio
import logging
import re
from functools import partial
from typing import Any, NamedTuple

from starlette.types import Message, Receive, Scope, Send

from dreamserve.api import codec
from dreamserve.api.async_engine import Service
from dreamserve.api.problems import problem_of
from dreamserve.validation import validator
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.verbs import VERBS

MAX_ID = 128  # characters of an id that is a text
_VALIDATORS = {verb.name: validator(verb.request) for verb in VERBS}
_FOR_THE_LOG = re.compile(r"[A-Za-z0-9._-]+")  # an id that can be no line of its own there
_KEYS = {"id", "verb", "body"}

log = logging.getLogger("dreamserve")

Id = int | str | None


class Question(NamedTuple):
    """Whose answer it will be, and in which form."""

    id: Id
    as_msgpack: bool


class Stream:
    """An ASGI application that serves sockets."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket until its peer leaves."""
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        await Socket(self._service, scope["state"]["request_id"], receive, send).serve()


class Socket:
    """One socket: a task that reads questions, and one that writes answers."""

    def __init__(self, service: Service, name: str, receive: Receive, send: Send) -> None:
        self._engine = service.async_engine
        self._most = service.settings.max_stream_requests
        self._name, self._receive, self._send = name, receive, send
        self._waiting: dict[asyncio.Future[Any], Question] = {}
        self._answers: list[tuple[Question, Any]] = []  # results and errors that are to be written
        self._in_progress = 0  # asked and not yet written
        self._to_write, self._has_room = asyncio.Event(), asyncio.Event()

    async def serve(self) -> None:
        """Answer questions until the peer leaves; what nobody waits for any more is taken back."""
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
        """Take messages while there is room for their answers; end once the peer leaves."""
        # One message is read ahead: else a peer that leaves while there is no room went unnoticed.
        while (message := await self._receive())["type"] != "websocket.disconnect":
            while self._in_progress >= self._most:
                self._has_room.clear()
                await self._has_room.wait()
            await self._take(message)

    async def _take(self, message: Message) -> None:
        """Ask the engine what a message asks."""
        text = message.get("text")
        raw = message["bytes"] if text is None else text.encode()
        question = Question(None, text is None)
        self._in_progress += 1
        try:
            if len(raw) <= codec.LARGE_BYTES:
                fields = codec.decode(raw, question.as_msgpack)
            else:
                fields = await asyncio.to_thread(codec.decode, raw, question.as_msgpack)
            question = Question(_id_of(fields), question.as_msgpack)
            future = self._engine.queue(_request_of(fields))
        except Exception as error:
            self._answer(question, error)
            return
        self._waiting[future] = question
        future.add_done_callback(self._done)

    def _done(self, future: asyncio.Future[Any]) -> None:
        question = self._waiting.pop(future)
        if not future.cancelled():
            self._answer(question, future.exception() or future.result())

    def _answer(self, question: Question, outcome: Any) -> None:
        self._answers.append((question, outcome))
        self._to_write.set()

    async def _write(self) -> None:
        """Write answers as they come; `send` waits while the peer does not read."""
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            answers, self._answers = self._answers, []
            for question, outcome in answers:
                frame = await self._framed(question, outcome)
                try:
                    await self._send(frame)
                except OSError:
                    return  # the peer has left
                self._in_progress -= 1
            self._has_room.set()

    async def _framed(self, question: Question, outcome: Any) -> Message:
        """Return an answer as a frame; a thread writes large ones."""
        answer: dict[str, Any] = {"id": question.id, "status": 200, "body": outcome}
        if isinstance(outcome, Exception):
            named = f".{question.id}" if _FOR_THE_LOG.fullmatch(str(question.id)) else ""
            error, document = problem_of(outcome, self._name + named)
            answer |= {"status": error.status, "body": document}
        elif outcome is None:
            answer = {"id": question.id, "status": 204}
        encode = partial(codec.encode, answer, question.as_msgpack)
        raw = await asyncio.to_thread(encode) if codec.is_large(outcome) else encode()
        if question.as_msgpack:
            return {"type": "websocket.send", "bytes": raw}
        return {"type": "websocket.send", "text": raw.decode()}


def _id_of(fields: dict[str, Any]) -> Id:
    """Return a question's id. Raises InvalidRequestError."""
    given = fields.get("id")
    if type(given) is int or (type(given) is str and len(given) <= MAX_ID):
        return given
    raise InvalidRequestError(f"id must be an integer, or a string of at most {MAX_ID} characters")


def _request_of(fields: dict[str, Any]) -> Request[Any]:
    """Return the request that a question stands for. Raises InvalidRequestError and its kin."""
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
