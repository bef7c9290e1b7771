"""uvicorn's WebSocket protocol: coalesced writes, a tolerant keep-alive, bounded messages.

uvicorn makes a system call for each frame, and closes a socket if a ping gets no pong in time. But
a pong arrives after all that the peer has sent before it, and it is not read while the socket is at
its limit of requests.
"""

import asyncio
import logging
from typing import Any

from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import State

from dreamserve.api.bounded import Bounded
from dreamserve.api.connections import PENDING_BYTES, Connections
from dreamserve.api.elements import LARGE_BYTES
from dreamserve.api.pacing import SMALL_PART_BYTES, PacedProtocol
from dreamserve.api.transports import JoiningTransport
from dreamserve_protocol.errors import OverloadedError

MAX_PARTS = 1024  # frames of one message
WRITABLE = "dreamserve.writable"  # extension of the scope: an Event, set while the peer reads

# A peer's faults, and refused handshakes. As errors, they would let any peer fill the log.
_NO_ERRORS = (
    "Invalid UTF-8 sequence received from client.",
    "ASGI callable returned without completing handshake.",
)


def is_error(record: logging.LogRecord) -> bool:
    """Return whether a record is an error of this server; a filter for uvicorn's logger."""
    return record.msg not in _NO_ERRORS


class StreamProtocol(Bounded, PacedProtocol):
    """One WebSocket; any data from its peer counts as a pong.

    A message over LARGE_BYTES counts as one of the bodies, from its first part until the
    application asks for the next message. The application answers each message with one of its own:
    the socket is not idle before that.
    """

    def __init__(self, *args: Any, shared: Connections, **options: Any) -> None:
        super().__init__(*args, **options)
        self.shared = shared
        self.pending_bytes = shared.settings.max_stream_requests * PENDING_BYTES
        self._received = self._active = False  # data arrived since the last ping, or check
        self._in_progress = 0  # messages that the application has taken and not answered
        self._parts = self._parts_bytes = 0  # of an incomplete message
        self._held_bytes = self._complete_bytes = 0  # counted, and thereof of complete messages
        self._holder = ""  # for whom they count
        self._since_s = self.loop.time()  # of the last check before which a message arrived
        self._part_since_s: float | None = None

    @property
    def idle_since_s(self) -> float | None:
        """Loop time of the last message, as far as checks tell; None while one is served."""
        return None if self._active or self._is_busy else self._since_s

    @property
    def _is_busy(self) -> bool:
        """Whether messages wait, or are being served."""
        return self.read_paused or self._in_progress > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection from the HTTP protocol."""
        super().connection_made(JoiningTransport(transport, self.loop))  # type: ignore[arg-type]  # acts as one
        self.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what the connection held."""
        self._hold(0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process data from the peer."""
        self._received = self._active = True
        super().data_received(data)

    def _process(self, data: bytes) -> None:
        super()._process(data)
        partial_bytes = len(self.conn.reader.buffer) + self._parts_bytes
        if not partial_bytes and not self._parts:
            self._part_since_s = None
        elif self._part_since_s is None:
            self._part_since_s = self.loop.time()
        if partial_bytes > LARGE_BYTES or self._held_bytes:
            self._hold(self._complete_bytes + (partial_bytes if partial_bytes > LARGE_BYTES else 0))

    def handle_connect(self, event: Request) -> None:
        """Begin to serve the socket; the application can wait until its peer reads."""
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["extensions"][WRITABLE] = self.writable

    def handle_text(self, event: Frame) -> None:
        """Begin a message."""
        self._count(event, 0)
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Begin a message."""
        self._count(event, 0)
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Continue a message; refuse one of very many parts, each of which takes memory."""
        self._count(event, self._parts_bytes)
        if self._parts > MAX_PARTS and not event.fin:
            self.fail(CloseCode.MESSAGE_TOO_BIG, f"a message has at most {MAX_PARTS} parts")
        else:
            super().handle_cont(event)

    def _count(self, event: Frame, before_bytes: int) -> None:
        size = before_bytes + len(event.data)
        if not event.fin and len(event.data) < SMALL_PART_BYTES:
            self.count_empty()
        if event.fin:
            self._part_since_s = None  # the next one begins later
            self._parts = self._parts_bytes = 0
            self._complete_bytes += size if size > LARGE_BYTES else 0
        else:
            self._parts, self._parts_bytes = self._parts + 1, size

    def _hold(self, count: int) -> None:
        """Count as many bytes; close the socket if all bodies together are too large."""
        before = self._held_bytes
        if not before:
            self._holder = self.counts_for
        try:
            if count > before:
                self.shared.bodies.take(count - before, self._holder, before)
            else:
                self.shared.bodies.free(before - count, self._holder)
            self._held_bytes = count
        except OverloadedError as error:
            self.fail(CloseCode.TRY_AGAIN_LATER, error.detail)

    async def receive(self) -> Any:
        """Return the next message; the last one has been served."""
        if self._complete_bytes and self.queue.empty():
            self._hold(self._held_bytes - self._complete_bytes)
            self._complete_bytes = 0
        message = await super().receive()
        self._in_progress += message["type"] == "websocket.receive"
        return message

    async def send(self, message: Any) -> None:
        """Send a message of the application once the peer reads; it answers one of the peer's."""
        await super().send(message)
        self._in_progress -= message["type"] == "websocket.send"

    def _check_time(self, now_s: float) -> None:
        settings, part_since_s = self.shared.settings, self._part_since_s
        if self._active or self._is_busy:
            self._active, self._since_s = False, now_s
        idle_s = now_s - self._since_s
        limit_s = settings.transfer_timeout_s
        if part_since_s is not None and not self.read_paused and now_s - part_since_s > limit_s:
            self.fail(CloseCode.POLICY_VIOLATION, f"a message took more than {limit_s:g} s")
        elif idle_s > settings.socket_idle_timeout_s:
            self.fail(CloseCode.GOING_AWAY, f"no message for {settings.socket_idle_timeout_s:g} s")

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
