"""uvicorn's WebSocket protocol, but frames are written together, and a silent peer is not dead.

By itself uvicorn makes a system call for each frame, and closes a socket whose peer leaves a ping
unanswered. But a pong comes behind all that the peer has sent before, and is not read while the
socket has no room for more requests.
"""

import asyncio
import logging

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from dreamserve.api.transports import JoiningTransport

# What a peer did wrong, or was refused: to log it as an error would let any peer fill the log.
_NO_ERRORS = (
    "Invalid UTF-8 sequence received from client.",
    "ASGI callable returned without completing handshake.",
)


def is_error(record: logging.LogRecord) -> bool:
    """Tell whether what uvicorn logs is an error of this server; a filter for its logger."""
    return record.msg not in _NO_ERRORS


class StreamProtocol(WebSocketsSansIOProtocol):
    """One WebSocket; whatever its peer sends is a sign of life."""

    _heard = False  # since the last ping

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over from the HTTP protocol."""
        super().connection_made(JoiningTransport(transport, self.loop))  # type: ignore[arg-type]  # acts as one

    def data_received(self, data: bytes) -> None:
        """Take what the peer sends."""
        self._heard = True
        super().data_received(data)

    def shutdown(self) -> None:
        """Tell the peer that the server shuts down, unless the socket is being closed already."""
        if self.conn.state is State.CLOSING:
            self.stop_keepalive()
            self.transport.close()
        else:
            super().shutdown()

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
