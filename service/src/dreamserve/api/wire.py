"""uvicorn's HTTP protocol, extended to serve every valid request and refuse others with a problem.

uvicorn drops the body of a request that asks for an upgrade, reads trailers as headers, and accepts
heads of any size.
"""

import asyncio
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from dreamserve.api import heads
from dreamserve.api.closing import ClosingProtocol
from dreamserve.api.connections import RESERVE, Connections
from dreamserve.api.heads import MAX_HEADERS, Refusal
from dreamserve.api.problems import Problems
from dreamserve.api.transports import CoalescingTransport
from dreamserve_protocol.errors import (
    OverloadedError,
    RequestTimeoutError,
    UnsupportedHttpError,
)

PACKET_BYTES = 256 * 1024  # the most that the event loop reads at once
MAX_PIPELINED = 100  # requests that wait behind another; each takes some kilobytes
PROBES = (b"/livez", b"/readyz")  # answered beyond the limit of connections, too


class Protocol(ClosingProtocol):
    """One connection."""

    def __init__(
        self, *args: Any, shared: Connections, problems: Problems | None = None, **options: Any
    ) -> None:
        super().__init__(*args, shared=shared, problems=problems, **options)
        self._head_bytes = shared.settings.max_head_bytes
        self._packet_bytes = 0  # size of the packet being parsed
        self._idle_bytes = 0  # received since, and with, the last packet that made progress
        self._probes_only = False  # beyond the limit of connections
        self._since_s = self.loop.time()  # when this head or body began, or the last response ended
        self._unread: bytes | None = None  # of a request that waits for its group

    @property
    def idle_since_s(self) -> float | None:
        """Loop time of the last progress; None while a complete request is in progress."""
        return None if self.is_responding else self._since_s

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # narrower: TCP
        """Accept the connection, and start the checks."""
        super().connection_made(CoalescingTransport(transport, self.loop))  # type: ignore[arg-type]  # acts as one
        if not self.shared.has_room(self, self.connections):
            self._probes_only = True
            if len(self.connections) > self.shared.most + RESERVE:
                self.transport.abort()
                return
        self.watch()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over."""
        self.shared.read(self)
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        """Parse received data, perhaps with a group of requests; drop it after a refusal."""
        if self._refused:
            return
        groups = self.shared.groups
        if self._unread is not None:
            self._read_unread()
        elif groups.refused_at_s and self._may_wait and groups.must_wait(data):
            self._unread, self._since_s = data, self.loop.time()
            groups.add(self._read_unread, self.loop)
            return
        self._parse(data)

    @property
    def _may_wait(self) -> bool:
        """Whether the next data begins a request, and no other one is in progress here."""
        busy = self._in_head or self._in_body or self._responding
        return not (busy or self.shared.draining)

    def _read_unread(self) -> None:
        """Parse what waited, unless that was done before."""
        data, self._unread = self._unread, None
        if data is not None and not self.transport.is_closing():
            self._parse(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks for it
        """Return whether to keep the connection: the client may still read the response."""
        self._read_unread()
        return super().eof_received()

    def _parse(self, data: bytes) -> None:
        scope = self.scope
        self._packet_bytes = len(data)
        self._idle_bytes += self._packet_bytes
        try:
            self._feed(data)
        except HttpParserError as error:
            self._refuse(Refusal.of(error))
            return
        self._in_head = self.scope is not None and "method" not in self.scope
        if self.scope is not scope:
            self._since_s = self.loop.time()
        if self._idle_bytes > self._head_bytes + PACKET_BYTES and (self._in_head or self._in_body):
            self._refuse(heads.too_large(self._head_bytes))

    def _feed(self, data: bytes) -> None:
        """Parse `data`.

        The parser stops after the head of a request that asks for an upgrade. A WebSocket is handed
        over there. For any other upgrade, the head is parsed again without the Upgrade header.
        """
        pieces: list[bytes | memoryview] = [data]
        while pieces:
            piece = pieces.pop()
            try:
                self.parser.feed_data(piece)
            except HttpParserUpgrade as upgrade:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return
                head = heads.without_upgrade(self.parser, self.url, self.headers)
                pieces += [memoryview(piece)[upgrade.args[0] :], head]
                # A new parser, because the old one reads nothing after Connection: close.
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _should_upgrade(self) -> bool:
        """Return whether the request asks for an upgrade to a WebSocket."""
        return bool(self.ws_protocol_class) and heads.for_websocket(self.parser, self.headers)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header or a trailer. Raises Refusal."""
        if len(self.headers) >= MAX_HEADERS:
            raise heads.too_many()
        self.headers.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        """Check the head, and begin to serve the request. Raises Refusal."""
        # The head's packets may hold other data, so its size is known only now.
        if self._idle_bytes > self._head_bytes < heads.size_bytes(self.url, self.headers):
            raise heads.too_large(self._head_bytes)
        self._idle_bytes = self._packet_bytes
        if self._probes_only and self.url.partition(b"?")[0] not in PROBES:
            raise Refusal(OverloadedError(f"{self.shared.most} connections, the limit, are in use"))
        if len(self.pipeline) >= MAX_PIPELINED:
            raise Refusal(OverloadedError(f"over {MAX_PIPELINED} requests wait on this connection"))
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refusal(UnsupportedHttpError("this server is not a proxy"))
            if self._should_upgrade():
                self.url = heads.normalize(self.parser, self.url, self.headers)
                heads.check_handshake(self.parser, self.url, self.headers)
                super().on_headers_complete()
            return
        if heads.is_unusual(self.url, self.headers):
            self.url = heads.normalize(self.parser, self.url, self.headers)
            self.expect_100_continue = heads.expects_continue(self.parser, self.headers)
        super().on_headers_complete()
        self.headers = []  # collects the trailers
        if self.expect_100_continue:
            # If the response comes before the body, the body may never come.
            self._keep_alive, self.cycle.keep_alive = self.cycle.keep_alive, False
        if self.shared.draining or self._probes_only:
            self.stop_keeping_alive()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """Add a piece of the body."""
        self._idle_bytes = self._packet_bytes
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Mark the request as complete."""
        if self.parser.should_upgrade():
            return
        self._idle_bytes, self._in_body = self._packet_bytes, False
        if self.expect_100_continue:
            self.cycle.keep_alive = self._keep_alive
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Continue with the next request; uvicorn would set a timer for each one."""
        self.server_state.total_requests += 1
        self._since_s = self.loop.time()
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())

    def _check_time(self, now_s: float) -> None:
        if self._refused:
            return
        settings, passed_s = self.shared.settings, now_s - self._since_s
        if self._in_head and passed_s > settings.head_timeout_s:
            self._refuse(_too_late("head", settings.head_timeout_s))
        elif self._in_body:
            if passed_s > settings.transfer_timeout_s and not self.flow.read_paused:
                self._refuse(_too_late("body", settings.transfer_timeout_s))
        elif passed_s > settings.idle_timeout_s and not self._responding and not self._in_head:
            self.transport.close()


def _too_late(part: str, limit_s: float) -> Refusal:
    return Refusal(RequestTimeoutError(f"the request's {part} took more than {limit_s:g} s"))
