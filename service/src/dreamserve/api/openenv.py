"""OpenEnv's WebSocket: one socket is one environment, and each reset begins an episode.

    {"type": "reset", "data": {"seed": 7}}   →   {"type": "observation", "data": {…}}
    {"type": "step", "data": {"action": 1}}  →   {"type": "observation", "data": {…}}
    {"type": "state"}                        →   {"type": "state", "data": {…}}
    {"type": "close"}                        →   closes the socket

Messages are JSON in text frames, answered one after the other: while one is served, the socket is
not read. The socket has a session of its own, which ends with it.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any, TypeVar, get_args

from starlette.types import Message, Receive, Scope, Send

from dreamserve.api import codec
from dreamserve.api.access.callers import Caller
from dreamserve.api.access.handshakes import accept
from dreamserve.api.access_log import log_request
from dreamserve.api.async_engine import never
from dreamserve.api.elements import is_quick
from dreamserve.api.problems import OTHER, problem_of
from dreamserve.api.service import Service
from dreamserve.validation import validated
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.ids import new_id
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest, ResetResult, StateInclude
from dreamserve_protocol.sessions import SessionRequest
from dreamserve_protocol.step import StepInclude, StepRequest, StepResult
from dreamserve_protocol.verbs import BY_NAME
from dreamserve_protocol.wire import fields_of, with_png

CLOSE = "close"
MAX_EPISODE_ID = 255  # characters, as in OpenEnv
# A result's fields have the names by which requests include them.
_OBSERVED = ("latent", *sorted({*get_args(StateInclude), *get_args(StepInclude)}))
_SHOWN = 80

R = TypeVar("R")


class Episodes:
    """An ASGI application that serves sockets."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket until it is closed, then end its session."""
        await accept(scope, receive, send)
        caller: Caller = scope["state"]["caller"]
        environment = Environment(self._service, caller)
        sockets = self._service.connections.sockets
        sockets.add(environment)
        name: str = scope["state"]["request_id"]
        count = 0
        self._service.open_sockets["openenv"] += 1
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                count += 1
                environment.in_progress = True
                response = await self._respond(environment, message, f"{name}.{count}")
                with suppress(OSError):  # the peer has disconnected, which `receive` tells next
                    await send(response)
                environment.in_progress = False
                if response["type"] == "websocket.close":
                    return
                await asyncio.sleep(0)  # what is refused has waited for nothing yet
        finally:
            sockets.discard(environment)
            self._service.open_sockets["openenv"] -= 1
            await environment.close()

    async def _respond(
        self, environment: "Environment", message: Message, request_id: str
    ) -> Message:
        """Return the message to send for one that came."""
        verb, status, began_s = OTHER, 200, perf_counter()
        try:
            environment.caller.check()
            kind, data, is_small = await environment.read(message)
            if kind == CLOSE:
                return {"type": "websocket.close", "code": 1000}
            handlers = {
                "reset": environment.reset,
                "step": environment.step,
                "state": environment.state,
            }
            if not isinstance(kind, str) or kind not in handlers:
                raise InvalidRequestError(f"type must be one of {', '.join((*handlers, CLOSE))}")
            verb = kind if kind in BY_NAME else OTHER
            response = await handlers[kind](data, is_small)
        except Exception as error:
            self._service.problems.note(error, request_id, verb, environment.session_id)
            _, problem = problem_of(error, request_id)
            status = problem.status
            response = {"type": "error", "data": {"message": problem.detail, **fields_of(problem)}}
        if self._service.settings.access_log:
            known = {"request_id": request_id, "verb": verb, "session_id": environment.session_id}
            log_request(status, perf_counter() - began_s, **known, transport="openenv")
        return {"type": "websocket.send", "text": codec.encode(response, as_msgpack=False).decode()}


class Environment:
    """One socket's session, behind OpenEnv's messages."""

    def __init__(self, service: Service, caller: Caller) -> None:
        self._service, self._engine, self.caller = service, service.async_engine, caller
        self.session_id = new_id()
        self.in_progress = False  # whether a message is not answered yet
        self._episode_id: str | None = None  # None: no episode has begun
        self._include: Sequence[str] = ()  # of the episode
        self._frame_format = "array"

    async def read(self, message: Message) -> tuple[Any, dict[str, Any], bool]:
        """Return a message's type and data, and whether it is small. Raises CallerError."""
        text = message.get("text")
        if text is None:
            raise InvalidRequestError("messages are JSON, in text frames")
        raw = text.encode()
        decode = partial(codec.decode, raw, False, self._service.most)
        quick = is_quick(raw, as_msgpack=False)
        fields = decode() if quick else await self._service.aside(decode)
        unknown = (name[:_SHOWN] for name in fields if name not in ("type", "data"))
        if named := list(islice(unknown, 5)):
            raise InvalidRequestError(f"a message has type and data, not {named}")
        data = fields.get("data", {})
        if not isinstance(data, dict):
            raise InvalidRequestError("data must be an object")
        return fields.get("type"), data, quick

    async def reset(self, data: dict[str, Any], is_small: bool) -> dict[str, Any]:
        """Begin an episode, by the fields of /reset. Raises ProblemError."""
        fields = dict(data)
        episode_id = fields.pop("episode_id", None)
        if episode_id is not None and not _is_id(episode_id):
            raise InvalidRequestError(f"episode_id must be 1 to {MAX_EPISODE_ID} characters")
        request = await self._request(ResetRequest, fields, is_small)
        result = await self._engine.send(request, never, self.caller)
        self._episode_id, self._include = episode_id or new_id(), request.include
        self._frame_format = request.frame_format
        return {"type": "observation", "data": _observation(result, request)}

    async def step(self, data: dict[str, Any], is_small: bool) -> dict[str, Any]:
        """Take a step, by the fields of /step. Raises ProblemError."""
        if self._episode_id is None:
            raise InvalidRequestError("no episode has begun; send a reset first")
        fields = {"include": self._include, "frame_format": self._frame_format, **data}
        fields.pop("metadata", None)  # which OpenEnv's own actions have
        request = await self._request(StepRequest, fields, is_small)
        result = await self._engine.send(request, never, self.caller)
        return {"type": "observation", "data": _observation(result, request)}

    async def state(self, data: dict[str, Any], is_small: bool) -> dict[str, Any]:
        """Describe the episode. Raises ProblemError."""
        if data:
            raise InvalidRequestError("state has no data")
        described: dict[str, Any] = {"episode_id": self._episode_id, "step_count": 0}
        if self._episode_id is not None:
            session = await self._engine.send(SessionRequest(self.session_id), never, self.caller)
            described |= {"step_count": session.step, **fields_of(session)}
        return {"type": "state", "data": described}

    async def close(self) -> None:
        """End the session, if it has begun."""
        if self._episode_id is not None:
            await self._engine.end(self.session_id, self.caller)

    async def _request(self, kind: type[R], fields: dict[str, Any], is_small: bool) -> R:
        """Return a request of the socket's session. Raises as `validated`."""
        if "session_id" in fields:
            raise InvalidRequestError("session_id: the socket has a session of its own")
        own = {**fields, "session_id": self.session_id}
        return await self._service.png.built(partial(validated, kind, own), is_small)


def _observation(result: ResetResult | StepResult, request: Request[Any]) -> dict[str, Any]:
    """Return a result in OpenEnv's form; what is no observation is metadata."""
    fields = with_png(result) if codec.wants_png(request) else fields_of(result)
    return {
        "observation": {name: fields.pop(name) for name in _OBSERVED if name in fields},
        "reward": fields.pop("reward", None),
        "done": fields.get("terminated", False) or fields.get("truncated", False),
        "metadata": fields,
    }


def _is_id(episode_id: Any) -> bool:
    return isinstance(episode_id, str) and 0 < len(episode_id) <= MAX_EPISODE_ID
