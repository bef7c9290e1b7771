"""uvicorn's WebSocket protocol with two changes: coalesced writes, and a tolerant keep-alive.

uvicorn makes a system call for each frame, and closes a socket if a ping gets no pong in time. But
a pong arrives after all that the peer has sent before it, and it is not read while the socket is at
its limit of requests.
"""

import asyncio
import logging

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from dreamserve.api.transports import JoiningTransport

# A peer's faults, and refused handshakes. As errors, they would let any peer fill the log.
_NO_ERRORS = (
    "Invalid UTF-8 sequence received from client.",
    "ASGI callable returned without completing handshake.",
)


def is_error(record: logging.LogRecord) -> bool:
    """Return whether a record is an error of this server; a filter for uvicorn's logger."""
    return record.msg not in _NO_ERRORS


class StreamProtocol(WebSocketsSansIOProtocol):
    """One WebSocket; any data from its peer counts as a pong."""

    _received = False  # whether data arrived since the last ping

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection from the HTTP protocol."""
        super().connection_made(JoiningTransport(transport, self.loop))  # type: ignore[arg-type]  # acts as one

    def data_received(self, data: bytes) -> None:
        """Process data from the peer."""
        self._received = True
        super().data_received(data)

    def shutdown(self) -> None:
        """Send a close frame, unless the socket is already closing."""
        if self.conn.state is State.CLOSING:
            self.stop_keepalive()
            self.transport.close()
        else:
            super().shutdown()

    def send_keepalive_ping(self) -> None:
        """Send a ping."""
        self._received = False
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """Close the socket, unless data arrived or reading is paused: then ping again later."""
        if self._received or self.read_paused:
            self.stop_keepalive()
            self.schedule_ping()
        else:
            super().keepalive_timeout()
