"""Calls over one WebSocket, /stream, many of them in progress at once.

A lost socket fails the calls in progress; the next call opens another one. The synchronous
transport runs the asynchronous one in a thread of its own.
"""

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import count
from threading import Event, Thread
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)

from dreamserve_client.calls import Call, Fields
from dreamserve_client.codec import JSON, Codec
from dreamserve_client.environment import proxy_of, server_url, tls_of
from dreamserve_client.errors import (
    APIConnectionError,
    APITimeoutError,
    ClosedError,
    ProtocolError,
)
from dreamserve_client.problems import problem_from, problem_in
from dreamserve_client.timeouts import CONNECT_S
from dreamserve_client.transports.http import USER_AGENT
from dreamserve_client.transports.socket import Socket

KEEP_ALIVE_S = 20.0  # between pings; a server that answers none within another 20 s is lost
CLOSE_S = 5.0


class AsyncStream:
    """Sends calls over a socket that is opened by the first call, and again after it was lost."""

    def __init__(self, base_url: str, codec: Codec) -> None:
        url = server_url(base_url)
        self._url = str(url.copy_with(scheme=url.scheme.replace("http", "ws"))).rstrip("/")
        self._codec, self._ids = codec, count()
        self._proxy, self._tls = proxy_of(url), tls_of(url)
        self._socket: Socket | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def send(self, call: Call[Any], timeout_s: float) -> Fields:
        """Send one call, as `Transport.send` says."""
        id, fields, sent = next(self._ids), call.fields, False
        message = {"id": id, "verb": call.verb.name, "body": fields, "timeout_s": timeout_s}
        raw = self._codec.encode(message, fields)
        try:
            async with asyncio.timeout(timeout_s):
                socket = await self._open()
                sent = True
                frame = raw.decode() if self._codec is JSON else raw
                status, body = await socket.exchange(id, frame)
        except TimeoutError as error:
            raise APITimeoutError.after(timeout_s, self._url, sent=sent) from error
        if status >= 400:
            raise problem_from(f"{self._url} answered {status}", status, body)
        return body

    async def close(self) -> None:
        """Close the socket."""
        self._closed = True
        if self._socket is not None:
            await self._socket.close()

    async def _open(self) -> Socket:
        """Return the open socket, or a new one."""
        if self._socket is None or self._socket.is_closed:
            async with self._opening:  # one call connects for all that wait
                if self._socket is None or self._socket.is_closed:
                    self._socket = Socket(await self._connect(), self._url)
        if self._closed:
            raise ClosedError("the client is closed")
        return self._socket

    async def _connect(self) -> ClientConnection:
        if self._closed:
            raise ClosedError("the client is closed")
        try:
            return await connect(
                f"{self._url}/stream",
                ssl=self._tls,
                proxy=None if self._proxy is None else self._proxy.url,
                compression=None,  # arrays do not shrink, and the server does not offer it
                max_size=None,
                open_timeout=CONNECT_S,
                ping_interval=KEEP_ALIVE_S,
                ping_timeout=KEEP_ALIVE_S,
                close_timeout=CLOSE_S,
                user_agent_header=USER_AGENT,
            )
        except Exception as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> Exception:
        """Return the SDK's error for a connection that was not made."""
        if isinstance(error, TimeoutError):
            return APITimeoutError.after(CONNECT_S, self._url, sent=False)
        if isinstance(error, InvalidStatus):
            response, status = error.response, error.response.status_code
            origin = f"{self._url}/stream answered {status} {response.reason_phrase}"
            if status >= 400:
                return problem_in(origin, status, response.headers, bytes(response.body or b""))
            return ProtocolError(f"{origin}; is base_url a dreamserve server?")
        if self._proxy is not None and isinstance(error, ImportError | InvalidURI):
            return self._proxy.refused(error)
        if isinstance(error, OSError | InvalidMessage | ProxyError | EOFError):
            way = "" if self._proxy is None else f" by {self._proxy.variable}"
            return APIConnectionError(f"no connection to {self._url}{way}: {error}")
        if isinstance(error, InvalidHandshake):
            return ProtocolError(f"{self._url}: {error}; is base_url a dreamserve server?")
        return error


class Stream:
    """The same for DreamClient: threads share one socket, which lives in a thread of its own."""

    def __init__(self, base_url: str, codec: Codec) -> None:
        self._stream = AsyncStream(base_url, codec)
        self._runs, self._process = Event(), os.getpid()
        self._thread = Thread(target=self._run, name="dreamserve-stream", daemon=True)
        self._thread.start()
        self._runs.wait()

    def send(self, call: Call[Any], timeout_s: float) -> Fields:
        """Send one call, as `Transport.send` says."""
        fields: Fields = self._result(self._stream.send(call, timeout_s))
        return fields

    def close(self) -> None:
        """Close the socket, and end its thread."""
        with suppress(ClosedError):
            self._result(self._stream.close())
            self._loop.call_soon_threadsafe(self._until.set)
        self._thread.join()

    def _result(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return what a coroutine returns, which runs in the socket's thread."""
        if os.getpid() != self._process:  # a fork has no threads but its first
            coroutine.close()
            raise ClosedError("the client belongs to another process; make one in each process")
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the event loop is closed
            coroutine.close()
            raise ClosedError("the client is closed") from None
        try:
            return future.result()
        except CancelledError:
            raise ClosedError("the client was closed during the call") from None
        finally:
            future.cancel()  # if the wait was interrupted

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop, self._until = runner.get_loop(), asyncio.Event()
            self._runs.set()
            runner.run(_wait(self._until))


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
