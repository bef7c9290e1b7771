"""uvicorn's WebSocket protocol, but a peer that is not read is not taken for dead.

uvicorn closes a socket whose peer leaves a ping unanswered. But a pong comes behind all that the
peer has sent before, and is not read while the socket has no room for more requests.
"""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class StreamProtocol(WebSocketsSansIOProtocol):
    """One WebSocket; whatever its peer sends is a sign of life."""

    _heard = False  # since the last ping

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
