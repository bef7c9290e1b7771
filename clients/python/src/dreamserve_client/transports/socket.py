"""One open WebSocket: calls in progress, each of which waits for the response with its id."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from dreamserve_client.codec import JSON, MSGPACK, UNREADABLE, Fields
from dreamserve_client.errors import APIConnectionError, ProtocolError
from dreamserve_client.problems import problem_from
from dreamserve_protocol.errors import DreamserveError, TooLargeError

TOO_LARGE = 1009  # close code for a frame beyond the server's bound

Response = tuple[int, Fields]  # status and body


@dataclass(frozen=True)
class _Waiting:
    """A call in progress."""

    response: "asyncio.Future[Response]"
    frame_bytes: int


class Socket:
    """One open WebSocket, and the calls in progress on it."""

    def __init__(self, connection: ClientConnection, server: str) -> None:
        self._connection, self._server = connection, server
        self._waiting: dict[int, _Waiting] = {}
        self._failure: DreamserveError | None = None
        self._reader = asyncio.create_task(self._read())

    @property
    def is_closed(self) -> bool:
        """Whether no request can be sent any more."""
        return self._connection.state is not State.OPEN

    async def exchange(self, id: int, frame: bytes | str) -> Response:
        """Send a request; return its response."""
        waiting = _Waiting(asyncio.get_running_loop().create_future(), len(frame))
        self._waiting[id] = waiting
        try:
            with suppress(ConnectionClosed):  # the reader notices it too, and fails the call
                await self._connection.send(frame)
            return await waiting.response
        finally:
            self._waiting.pop(id, None)

    async def close(self) -> None:
        """Close the socket; calls in progress fail."""
        await self._connection.close()
        await self._reader

    async def _read(self) -> None:
        """Hand responses to their calls until the socket closes; then fail what still waits."""
        try:
            async for message in self._connection:
                self._take(message)
        except ConnectionClosed:
            pass
        except UNREADABLE as error:
            self._failure = ProtocolError.of(f"{self._server} answered", error)
            await self._connection.close()
        finally:
            if self._connection.close_code == TOO_LARGE:
                self._fail_largest(TooLargeError("the server takes no request of this size"))
            for waiting in self._waiting.values():
                _fail(waiting, self._failure or self._lost())

    def _lost(self) -> APIConnectionError:
        code, reason = self._connection.close_code, self._connection.close_reason
        why = f"code {code}{f', {reason}' if reason else ''}"
        return APIConnectionError(f"the connection to {self._server} was lost ({why})")

    def _take(self, message: str | bytes) -> None:
        text = isinstance(message, str)
        raw = message.encode() if isinstance(message, str) else message
        id, status, body = _parts((JSON if text else MSGPACK).decode(raw))
        if id is None:  # the server could not read a request, not even its id
            self._fail_largest(problem_from(f"{self._server} answered {status}", status, body))
        elif (waiting := self._waiting.get(id)) is not None and not waiting.response.done():
            waiting.response.set_result((status, body))

    def _fail_largest(self, error: DreamserveError) -> None:
        """Fail the largest request: an error that names none is about size."""
        if self._waiting:
            _fail(max(self._waiting.values(), key=lambda one: one.frame_bytes), error)


def _parts(response: Fields) -> tuple[int | None, int, Fields]:
    """Return the id, status and body of a response. Raises TypeError for one that is none."""
    id, status, body = (response.get(name) for name in ("id", "status", "body"))
    if isinstance(id, int | None) and isinstance(status, int) and isinstance(body, dict | None):
        return id, status, body or {}
    raise TypeError("no response of /stream")


def _fail(waiting: _Waiting, error: DreamserveError) -> None:
    if not waiting.response.done():
        waiting.response.set_exception(error)
