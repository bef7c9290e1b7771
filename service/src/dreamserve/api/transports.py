"""Transports that write in fewer system calls than uvicorn's protocols ask for."""

import asyncio
from typing import Any

LINGER_S = 2.0  # time for a client that is still sending to read the refusal
JOINED_BYTES = 64 * 1024  # at this size, joined frames are written at once


class _Wrapper:
    """A transport that delegates what it does not define to another one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CoalescingTransport(_Wrapper):
    """Joins a response's head with its body, or writes it at the end of the loop's iteration.

    uvicorn writes them with two system calls, as two packets: a tenth of a small step's time.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport, loop)
        self.lingers = False  # whether `close` waits for the client to read a refusal
        self._head = b""
        self._closing = False

    def write(self, data: bytes) -> None:
        """Write `data` after any delayed head; delay a head itself."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Return whether `close` was called or the connection is lost."""
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Close once all is written; if it `lingers`, keep reading for LINGER_S.

        Closing a socket with unread bytes resets the connection, and the client loses the refusal.
        """
        self._flush()
        if not self.lingers or self.is_closing():
            self._transport.close()
            return
        self._closing = True
        if self._transport.can_write_eof():  # not with TLS
            self._transport.write_eof()
        self._loop.call_later(LINGER_S, self._transport.close)

    def _flush(self) -> None:
        if self._head:
            self.write(b"")


class JoiningTransport(_Wrapper):
    """Joins all writes of one iteration of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport, loop)
        self._frames: list[bytes] = []
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """Write `data` by the end of this iteration."""
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(data)
        self._bytes += len(data)
        if self._bytes >= JOINED_BYTES:  # so that the transport can report a full buffer
            self._flush()

    def close(self) -> None:
        """Close once all is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._frames:
            joined = b"".join(self._frames)
            self._frames.clear()
            self._bytes = 0
            self._transport.write(joined)
