"""uvicorn's WebSocket protocol, but frames are written together, and a silent peer is not dead.

By itself uvicorn makes a system call for each frame, and closes a socket whose peer leaves a ping
unanswered. But a pong comes behind all that the peer has sent before, and is not read while the
socket has no room for more requests.
"""

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from dreamserve.api.transports import JoiningTransport


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
