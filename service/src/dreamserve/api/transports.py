"""Transports that write in fewer system calls than uvicorn's protocols ask for."""

import asyncio
from typing import Any

LINGER_S = 2.0  # for a client that still sends, to read why it is refused
JOINED_BYTES = 64 * 1024  # are written without waiting for more


class _Wrapper:
    """A transport with all that it does not define itself from another one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CoalescingTransport(_Wrapper):
    """Hold a response's head back until its body is written, or the event loop's round ends.

    uvicorn makes two system calls and two packets of them: a tenth of a small step's time.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport, loop)
        self.lingers = False  # whether the client is to read a refusal, though it still sends
        self._head = b""
        self._closing = False

    def write(self, data: bytes) -> None:
        """Write `data` after the head that is held back; hold back a head itself."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Return whether `close` was called, or the connection is lost."""
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Close once all is written; where it `lingers`, keep the reading half for LINGER_S.

        A socket closed with bytes unread resets the connection, and the client loses the refusal.
        """
        self._flush()
        if not self.lingers or self.is_closing():
            self._transport.close()
            return
        self._closing = True
        self._transport.write_eof()
        self._loop.call_later(LINGER_S, self._transport.close)

    def _flush(self) -> None:
        if self._head:
            self.write(b"")


class JoiningTransport(_Wrapper):
    """Write what one round of the event loop writes in one piece."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport, loop)
        self._frames: list[bytes] = []
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """Write `data` by the end of this round."""
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(data)
        self._bytes += len(data)
        if self._bytes >= JOINED_BYTES:  # so that the transport tells when its buffer is full
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
