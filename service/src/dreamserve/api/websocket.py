"""uvicorn's WebSocket protocol, but frames are written together, and a silent peer is not dead.

By itself uvicorn makes a system call for each frame, and closes a socket whose peer leaves a ping
unanswered. But a pong comes behind all that the peer has sent before, and is not read while the
socket has no room for more requests.
"""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

JOINED_BYTES = 64 * 1024  # are written without waiting for more


class StreamProtocol(WebSocketsSansIOProtocol):
    """One WebSocket; whatever its peer sends is a sign of life."""

    _heard = False  # since the last ping

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over from the HTTP protocol."""
        super().connection_made(JoiningTransport(transport, self.loop))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take what the peer sends."""
        self._heard = True
        super().data_received(data)

    def send_keepalive_ping(self) -> None:
        """Ask the peer whether it lives."""
        self._heard = False
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """Close the socket, unless its peer was heard or could not be: then ask again."""
        if self._heard or self.read_paused:
            self.stop_keepalive()
            self.schedule_ping()
        else:
            super().keepalive_timeout()


class JoiningTransport:
    """Write what one round of the event loop writes in one piece."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._frames: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

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
