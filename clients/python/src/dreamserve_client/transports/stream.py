"""Calls over one WebSocket, /stream, many of them in progress at once.

A lost socket fails the calls in progress; the next call opens another one.
"""

import asyncio
from itertools import count
from threading import Lock
from time import monotonic
from typing import Any

from dreamserve_client.calls import Call, Fields
from dreamserve_client.codec import JSON, Codec
from dreamserve_client.errors import APITimeoutError, ClosedError
from dreamserve_client.problems import problem_from
from dreamserve_client.timeouts import CONNECT_S
from dreamserve_client.transports.async_socket import AsyncSocket
from dreamserve_client.transports.belonging import OneLoop, OneProcess
from dreamserve_client.transports.blocking_socket import BlockingSocket
from dreamserve_client.transports.deadlines import SIGNALS_S
from dreamserve_client.transports.in_progress import Response
from dreamserve_client.transports.opening import CLOSE_S, Opening
from dreamserve_protocol.interrupts import Signals, signals_wait

KEEP_ALIVE_S = 20.0  # between pings; a server that answers none within another 20 s is lost


class _Messages:
    """Calls to messages of one server, and its responses to fields or errors."""

    def __init__(self, url: str, codec: Codec) -> None:
        self._url, self._codec, self._ids = url, codec, count()
        self.is_text = codec is JSON

    def request(self, call: Call[Any], timeout_s: float) -> tuple[int, bytes]:
        """Return the id of a request, and its message. Raises as `Codec.encode`."""
        id, fields = next(self._ids), call.fields
        message = {"id": id, "verb": call.verb.name, "body": fields, "timeout_s": timeout_s}
        return id, self._codec.encode(message, fields)

    def fields(self, response: Response) -> Fields:
        """Return the fields that a response holds. Raises ProblemError."""
        status, body = response
        if status >= 400:
            raise problem_from(f"{self._url} answered {status}", status, body)
        return body


class AsyncStream:
    """Sends calls over a socket that is opened by the first call, and again after it was lost."""

    def __init__(
        self, base_url: str, codec: Codec, route: str | None = None, api_key: str | None = None
    ) -> None:
        self._opening = Opening(base_url, route, api_key)
        self._messages = _Messages(self._opening.url, codec)
        self._socket: AsyncSocket | None = None
        self._lock = asyncio.Lock()
        self._closed, self._loop = False, OneLoop()

    async def send(self, call: Call[Any], timeout_s: float) -> Fields:
        """Send one call, as `Transport.send` says."""
        self._loop.check()
        (id, raw), sent = self._messages.request(call, timeout_s), False
        try:
            async with asyncio.timeout(timeout_s):
                socket = await self._open()
                sent = True
                frame = raw.decode() if self._messages.is_text else raw
                response = await socket.exchange(id, frame)
        except TimeoutError as error:
            raise APITimeoutError.after(timeout_s, self._opening.url, sent=sent) from error
        return self._messages.fields(response)

    async def close(self) -> None:
        """Close the socket. Raises ClosedError in another event loop."""
        self._loop.check()
        self._closed = True
        if self._socket is not None:
            await self._socket.close()

    async def _open(self) -> AsyncSocket:
        """Return the open socket, or a new one."""
        if self._socket is None or self._socket.is_closed:
            async with self._lock:  # one call connects for all that wait
                if self._socket is None or self._socket.is_closed:
                    self._check_open()
                    connection = await self._opening.open_async(KEEP_ALIVE_S)
                    socket = AsyncSocket(connection, self._opening.url)
                    if self._closed:  # meanwhile: `close` did not see it
                        await socket.close()
                    self._socket = socket
        self._check_open()
        return self._socket

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the client is closed")


class Stream:
    """The same for threads, which share one socket."""

    def __init__(
        self, base_url: str, codec: Codec, route: str | None = None, api_key: str | None = None
    ) -> None:
        self._opening = Opening(base_url, route, api_key)
        self._messages = _Messages(self._opening.url, codec)
        self._socket: BlockingSocket | None = None
        self._lock = Lock()
        self._closed, self._process = False, OneProcess()

    def send(self, call: Call[Any], timeout_s: float) -> Fields:
        """Send one call, as `Transport.send` says."""
        deadline_s, sent = monotonic() + timeout_s, False
        id, frame = self._messages.request(call, timeout_s)
        try:
            socket = self._open(deadline_s)
            sent = True
            response = socket.exchange(id, frame, self._messages.is_text, deadline_s)
        except TimeoutError as error:
            raise APITimeoutError.after(timeout_s, self._opening.url, sent=sent) from error
        return self._messages.fields(response)

    def close(self) -> None:
        """Close the socket."""
        if self._process.is_another:
            return
        with self._lock:
            self._closed = True
            if self._socket is not None:
                self._socket.close(CLOSE_S)

    def _open(self, deadline_s: float) -> BlockingSocket:
        """Return the open socket, or a new one. Raises TimeoutError at the deadline."""
        self._process.check()
        with signals_wait() as signals:
            while not self._lock.acquire(timeout=min(SIGNALS_S, max(0, deadline_s - monotonic()))):
                signals.deliver()
                if monotonic() >= deadline_s:
                    raise TimeoutError
            try:
                return self._usable(deadline_s, signals)
            finally:
                self._lock.release()

    def _usable(self, deadline_s: float, signals: Signals) -> BlockingSocket:
        """Return the socket, or a new one instead of one that was closed."""
        if self._closed:
            raise ClosedError("the client is closed")
        if self._socket is None or not self._socket.is_usable():
            if self._socket is not None:
                self._socket.close(wait_s=0)
            timeout_s = min(CONNECT_S, max(1e-3, deadline_s - monotonic()))
            with signals.heard():
                connection = self._opening.open(timeout_s)
            self._socket = BlockingSocket(connection, self._opening.url, KEEP_ALIVE_S)
        return self._socket
