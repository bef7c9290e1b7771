"""uvicorn's WebSocket protocol, which processes a few frames in each iteration of the event loop.

A frame of six bytes takes as long as one of thousands, and a packet may hold ten thousands of them.
Who sends very many that are no messages is told to leave.
"""

from collections.abc import Generator
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.streams import StreamReader

from dreamserve.api.access.rate_limits import TokenBucket

SLICE_BYTES = 32 * 1024  # processed at once, unless they hold more frames
FRAMES_AT_ONCE = 64
MAX_WAITING = 128  # messages that the application has not taken, beyond which none are parsed
EMPTY_PER_S, EMPTY_AT_ONCE = 100.0, 2048  # pings, pongs and small parts of messages
SMALL_PART_BYTES = 1024


class PacedReader(StreamReader):
    """The data of a parser, which stops before the next frame once it has read `left` frames."""

    def __init__(self) -> None:
        super().__init__()
        self.left = FRAMES_AT_ONCE

    @property
    def has_stopped(self) -> bool:
        """Whether data wait because they hold too many frames."""
        return self.left <= 0 and bool(self.buffer)

    def at_eof(self) -> Generator[None, None, bool]:
        """Tell whether the stream has ended; the parser asks before each frame."""
        ended = yield from super().at_eof()
        while self.left <= 0:
            yield
        self.left -= 1
        return ended


class PacedProtocol(WebSocketsSansIOProtocol):
    """One WebSocket, read no faster than its application takes the messages."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._later = b""  # received and not parsed yet
        self._reader = self.conn.reader = PacedReader()
        self.conn.parser = self.conn.parse()  # the first one reads from another reader
        next(self.conn.parser)
        self._waits = False  # for the application to take messages, before more are parsed
        self._empty_frames = TokenBucket(EMPTY_PER_S, EMPTY_AT_ONCE)

    def data_received(self, data: bytes) -> None:
        """Process data from the peer: some now, some in the next iterations of the event loop."""
        waited = self._has_more
        self._later += data
        if not waited:
            self._go_on()
        if self._has_more:
            self.transport.pause_reading()

    @property
    def _has_more(self) -> bool:
        """Whether data wait to be processed."""
        return bool(self._later) or self._reader.has_stopped

    def _go_on(self) -> None:
        """Process the next frames, at most a slice of data."""
        data = b""
        if not self._reader.has_stopped:
            data, self._later = self._later[:SLICE_BYTES], self._later[SLICE_BYTES:]
        self._process(data)
        if self._has_more:
            self._waits = self.queue.qsize() >= MAX_WAITING
            if not self._waits:
                self.loop.call_soon(self._continue)

    def _continue(self) -> None:
        if self.transport.is_closing():
            self._later = b""
            return
        self._go_on()
        self._read_on()

    def _process(self, data: bytes) -> None:
        self._reader.left = FRAMES_AT_ONCE
        super().data_received(data)

    def _read_on(self) -> None:
        """Resume reading unless something forbids it."""
        if not (self.read_paused or self._has_more) and self.writable.is_set():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Read no more, because pings would add their pongs to what is unread."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        super().resume_writing()
        self._read_on()

    async def receive(self) -> Any:
        """Return the next message."""
        message = await self.queue.get()
        if self._waits and self.queue.qsize() < MAX_WAITING:
            self._waits = False
            self.loop.call_soon(self._continue)
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._read_on()
        return message

    def handle_ping(self) -> None:
        """Send the pong."""
        self.count_empty()
        if not self.transport.is_closing():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Note that the peer has answered."""
        self.count_empty()
        super().handle_pong(event)

    def count_empty(self) -> None:
        """Count a frame that is no message; close the socket of a peer that sends very many."""
        if self._empty_frames.take(self.loop.time()):
            self.fail(CloseCode.POLICY_VIOLATION, "too many pings, pongs and small parts")

    def fail(self, code: int, reason: str) -> None:
        """Close the socket with a close frame, and read no more."""
        if self.close_sent or self.transport.is_closing():
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.fail(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()
