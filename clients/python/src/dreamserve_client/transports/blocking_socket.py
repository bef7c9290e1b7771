"""One open WebSocket for threads that block: one of those that wait reads for all of them.

There is no thread of its own, so a single caller waits for nothing but its response. A call sends
its request. Then the first thread that waits reads and hands responses to the others; when it has
its own, it appoints another reader. The socket never blocks: waiting is polling, without the lock.
"""

import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from threading import Lock
from time import monotonic

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.sync.client import ClientConnection

from dreamserve_client.codec import UNREADABLE
from dreamserve_client.errors import ClosedError, ProtocolError
from dreamserve_client.transports.in_progress import NO_CLOSE_FRAME, InProgress, Response, Waiting
from dreamserve_client.transports.opening import READ_BYTES

SEND_S = 60.0  # for TLS inside TLS only
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# Windows has no poll.
Selector: type[BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class BlockingSocket:
    """One open WebSocket, and the calls in progress on it."""

    def __init__(self, connection: ClientConnection, server: str, keep_alive_s: float) -> None:
        self._connection, self._server, self._keep_alive_s = connection, server, keep_alive_s
        self._protocol, self._raw = connection.protocol, connection.socket
        self._raw.settimeout(0)
        self._lock = Lock()  # of all that follows
        self._calls = InProgress[Waiting](server)
        self._reader: Waiting | None = None
        self._unsent: deque[memoryview] = deque()
        self._message: list[bytes] = []  # the fragments of one so far
        self._is_text = False
        self._ended = self._send_failed = self._pinged = False
        self._heard_s = monotonic()

    def is_usable(self) -> bool:
        """Return whether a request can be sent: not if the server closed it, or may have.

        Nobody answers pings between calls, so a socket that was idle for long is not trusted.
        """
        with self._lock:
            if not self._calls:
                self._ended |= monotonic() - self._heard_s > self._keep_alive_s
                while not self._ended and self._read():
                    pass
            return not self._ended

    def exchange(self, id: int, frame: bytes, text: bool, deadline_s: float) -> Response:
        """Send a request; return its response. Raises TimeoutError at the deadline."""
        waiting = Waiting()
        try:
            self._send(id, waiting, frame, text)
            if self._unsent:
                self._run(lambda: waiting.done() or not self._unsent, deadline_s)
            self._wait(waiting, deadline_s)
        except TimeoutError:
            raise
        except BaseException:  # such as KeyboardInterrupt: what was half done is not known
            with self._lock:
                if self._protocol.state is State.OPEN:
                    self._protocol.fail(CloseCode.ABNORMAL_CLOSURE)
                self._end()
            raise
        finally:
            with self._lock:
                self._calls.remove(id)
                self._appoint()
                self._release()
        return waiting.result()

    def close(self, wait_s: float) -> None:
        """Close the socket, and wait so long for the server to do so; calls in progress fail."""
        with self._lock:
            self._calls.fail(ClosedError("the client was closed during the call"))
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        try:
            self._run(lambda: self._protocol.state is State.CLOSED, monotonic() + wait_s)
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._end()
                self._release()

    def _send(self, id: int, waiting: Waiting, frame: bytes, text: bool) -> None:
        with self._lock:
            self._calls.add(id, waiting, len(frame))
            if self._ended:  # since `is_usable`
                self._calls.lost(NO_CLOSE_FRAME, "")
            elif text:
                self._protocol.send_text(frame)
            else:
                self._protocol.send_binary(frame)
            self._write()

    def _wait(self, waiting: Waiting, deadline_s: float) -> None:
        """Wait for a response: read, or let another thread read."""
        while not waiting.done():
            with self._lock:
                reads = self._reader is None
                if reads:
                    self._reader = waiting
            if reads:
                try:
                    self._run(waiting.done, deadline_s)
                finally:
                    self._reader = None
            elif not waiting.wake.wait(deadline_s - monotonic()):
                raise TimeoutError
            else:
                waiting.wake.clear()

    def _appoint(self) -> None:
        """Wake a thread that waits, if none reads."""
        if self._reader is None and (waiting := self._calls.oldest()) is not None:
            waiting.wake.set()

    def _release(self) -> None:
        """Close the socket itself when no thread can be polling it any more."""
        if self._ended and not self._calls:
            self._connection.close_socket()

    def _run(self, done: Callable[[], bool], deadline_s: float) -> None:
        """Write and read until `done()`. Raises TimeoutError at the deadline."""
        while True:
            with self._lock:
                self._write()
                while not done() and self._read():
                    pass
            if done():
                return
            self._poll(deadline_s)

    def _poll(self, deadline_s: float) -> None:
        """Wait until there is something to read or to write, or it is time for a ping."""
        now_s, ping_s = monotonic(), self._heard_s + self._keep_alive_s * (1 + self._pinged)
        if now_s >= deadline_s:
            raise TimeoutError
        if now_s >= ping_s:
            with self._lock:
                self._keep_alive()
            return
        events = EVENT_READ | (EVENT_WRITE if self._unsent else 0)
        with Selector() as selector:
            selector.register(self._raw.fileno(), events)
            selector.select(min(deadline_s, ping_s) - now_s)

    def _keep_alive(self) -> None:
        """Send a ping, or give up the socket after one that nothing was heard of."""
        if self._pinged:
            self._end()
        else:
            self._pinged = True
            self._protocol.send_ping(b"")

    def _write(self) -> None:
        """Send as much as the network takes."""
        self._unsent.extend(map(memoryview, filter(None, self._protocol.data_to_send())))
        try:
            while self._unsent:
                if (sent := self._send_some(self._unsent[0])) == len(self._unsent[0]):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = self._unsent[0][sent:]
        except WOULD_BLOCK:
            return
        except OSError:  # what the server sent before, such as why it closed, is read first
            self._send_failed = True
            self._unsent.clear()

    def _send_some(self, data: memoryview) -> int:
        if isinstance(self._raw, socket.socket):
            return self._raw.send(data)
        self._raw.settimeout(SEND_S)  # TLS inside TLS has no send that does not block
        try:
            return self._raw.send(data)
        finally:
            self._raw.settimeout(0)

    def _read(self) -> bool:
        """Take what has arrived; return whether there was something."""
        try:
            data = self._raw.recv(READ_BYTES)
        except WOULD_BLOCK:
            if not self._send_failed:
                return False
            data = b""
        except OSError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._heard_s, self._pinged = monotonic(), False
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._write()
        if self._protocol.state is not State.OPEN:
            self._end()
        return True

    def _take(self, frame: Frame) -> None:
        """Take a frame; a message may come in several."""
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._message, self._is_text = [], frame.opcode is Opcode.TEXT
        elif frame.opcode is not Opcode.CONT:
            return
        self._message.append(bytes(frame.data))
        if not frame.fin:
            return
        raw, self._message = b"".join(self._message), []
        try:
            self._calls.take(raw.decode() if self._is_text else raw)
        except UNREADABLE as error:
            self._calls.fail(ProtocolError.of(f"{self._server} answered", error))
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(CloseCode.NORMAL_CLOSURE)

    def _end(self) -> None:
        """Fail what still waits: no more is read."""
        self._ended = True
        self._unsent.clear()
        close = self._protocol.close_rcvd
        self._calls.lost(*((close.code, close.reason) if close else (NO_CLOSE_FRAME, "")))
