"""Connections for many calls at once: an httpx transport for each connection, used in turn.

The pool of httpx compares all its connections with all waiting requests whenever one begins or
ends, which for a hundred at once takes longer than the requests. Here a request takes the
connection that was used last, or a new one; CONNECTIONS at most, further requests wait. A forked
process has connections of its own.
"""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

import httpx

from dreamserve_client.transports.deadlines import SIGNALS, SIGNALS_S, PunctualTransport

CONNECTIONS = 100
IDLE_S = 5.0  # after which an unused connection is closed, as by httpx

_LIMITS = httpx.Limits(max_connections=1, keepalive_expiry=IDLE_S)

T = TypeVar("T")


class _Idle(Generic[T]):
    """The transports that no request uses, and since when; the one used last is taken first."""

    def __init__(self, new: Callable[[], T]) -> None:
        self._new = new
        self._idle: deque[tuple[T, float]] = deque()

    def take(self) -> T:
        try:
            return self._idle.pop()[0]
        except IndexError:
            return self._new()

    def give_back(self, transport: T) -> T | None:
        """Take back a transport; return another one, to be closed, that was unused for IDLE_S."""
        now_s = time.monotonic()
        self._idle.append((transport, now_s))
        try:
            oldest = self._idle.popleft()  # other threads may take one meanwhile
        except IndexError:
            return None
        if now_s - oldest[1] > IDLE_S:
            return oldest[0]
        self._idle.appendleft(oldest)
        return None

    def empty(self) -> Iterator[T]:
        """Take all of them."""
        while True:
            try:
                transport = self._idle.pop()[0]
            except IndexError:
                return
            yield transport


class _OfProcess:
    """The connections of one process."""

    def __init__(self, new: Callable[[], PunctualTransport]) -> None:
        self.id, self.idle = os.getpid(), _Idle(new)
        self.free = threading.Semaphore(CONNECTIONS)
        self._is_closed = False

    def end(self, transport: PunctualTransport, is_whole: bool) -> None:
        """Take back the transport of a request; close it unless its response was read whole."""
        unused = self.idle.give_back(transport) if is_whole else transport
        self.free.release()
        if unused is not None:
            unused.close()
        if self._is_closed:  # meanwhile
            self.close()

    def close(self) -> None:
        self._is_closed = True
        for transport in self.idle.empty():
            transport.close()


class Pool(httpx.BaseTransport):
    """Connections for calls from any number of threads. The options are those of a transport."""

    def __init__(self, **options: Any) -> None:
        self._new = partial(PunctualTransport, limits=_LIMITS, **options)
        self._connections = _OfProcess(self._new)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises httpx.PoolTimeout and what an httpx transport raises."""
        connections = self._of_this_process()
        _acquire(connections.free, request)
        transport = connections.idle.take()
        try:
            response = transport.handle_request(request)
            response.stream = _Stream(response.stream, partial(connections.end, transport))
        except BaseException:  # an interrupt may have left the connection half used
            connections.end(transport, is_whole=False)
            raise
        return response

    def close(self) -> None:
        """Close the connections that are not in use, and the others when their requests end."""
        self._connections.close()

    def _of_this_process(self) -> _OfProcess:
        """Return this process's connections; after a fork, new ones.

        The parent goes on reading from the old ones. To close them here sends nothing.
        """
        connections = self._connections
        if connections.id != os.getpid():
            connections.close()
            connections = self._connections = _OfProcess(self._new)
        return connections


class AsyncPool(httpx.AsyncBaseTransport):
    """The same, awaited."""

    def __init__(self, **options: Any) -> None:
        self._idle = _Idle(partial(httpx.AsyncHTTPTransport, limits=_LIMITS, **options))
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._is_closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises httpx.PoolTimeout and what an httpx transport raises."""
        try:
            async with asyncio.timeout(_longest_wait_s(request)):
                await self._free.acquire()
        except TimeoutError:
            raise _all_in_use(request) from None
        transport = self._idle.take()
        try:
            response = await transport.handle_async_request(request)
            response.stream = _AsyncStream(response.stream, partial(self._end, transport))
        except BaseException:  # a cancelled one may have left the connection half used
            await self._end(transport, is_whole=False)
            raise
        return response

    async def _end(self, transport: httpx.AsyncHTTPTransport, is_whole: bool) -> None:
        unused = self._idle.give_back(transport) if is_whole else transport
        self._free.release()
        if unused is not None:
            await unused.aclose()
        if self._is_closed:  # meanwhile
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that are not in use, and the others when their requests end."""
        self._is_closed = True
        for transport in self._idle.empty():
            await transport.aclose()


class _Stream(httpx.SyncByteStream):
    """A response's content; read to its end and closed, its connection can be used again."""

    def __init__(self, stream: Any, end: Callable[[bool], None]) -> None:
        self._stream, self._end, self._is_whole = stream, end, False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream
        self._is_whole = True

    def close(self) -> None:
        try:
            self._stream.close()
        except BaseException:
            self._is_whole = False
            raise
        finally:
            self._end(self._is_whole)


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, stream: Any, end: Callable[[bool], Awaitable[None]]) -> None:
        self._stream, self._end, self._is_whole = stream, end, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk
        self._is_whole = True

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        except BaseException:
            self._is_whole = False
            raise
        finally:
            await self._end(self._is_whole)


def _acquire(free: threading.Semaphore, request: httpx.Request) -> None:
    """Wait until a connection is free. Raises httpx.PoolTimeout, and what a signal raises."""
    longest_s, signals = _longest_wait_s(request), request.extensions.get(SIGNALS)
    until_s = inf if longest_s is None else time.monotonic() + longest_s
    while not free.acquire(timeout=max(0.0, min(SIGNALS_S, until_s - time.monotonic()))):
        if signals is not None:
            signals.deliver()
        if time.monotonic() >= until_s:
            raise _all_in_use(request)


def _longest_wait_s(request: httpx.Request) -> float | None:
    timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
    return timeouts.get("pool")


def _all_in_use(request: httpx.Request) -> httpx.PoolTimeout:
    return httpx.PoolTimeout(f"all {CONNECTIONS} connections are in use", request=request)
