"""uvicorn's HTTP protocol, made to serve every legal request and to refuse the others in words.

uvicorn loses the body of a request that asks for an upgrade, takes trailers for headers and heads
of any size, forgets the response when the client closes its writing half, and answers what it
cannot parse in plain text, before the responses that are due first.
"""

import asyncio
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dreamserve.api import heads
from dreamserve.api.heads import HEAD_BYTES, Refusal

STALLED_S = 60.0  # for a head to be complete, and between two pieces of a body
HALF_CLOSED_S = 1.0  # for a response, once the client closed its writing half: it may be gone
LINGER_S = 2.0  # for a client that still sends, to read why it is refused

_CONTINUE = b"HTTP/1.1 100 "


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle_bytes = 0  # received since the last complete head or piece of a body
        self._in_body = False  # of the request of `self.cycle`
        self._keep_alive = False  # after a request with Expect, whose body may never come
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, and close it if no request comes."""
        super().connection_made(CoalescingTransport(transport, self.loop))  # type: ignore[arg-type]
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the connection."""
        self._set_deadline(None)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close once the request under way is answered."""
        self._keep_alive = False
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Parse what came; after a refusal, drop it."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        self._idle_bytes += len(data)
        try:
            self._feed(data)
        except HttpParserError as error:
            self._refuse(Refusal.of(error))
            return
        if self._idle_bytes > HEAD_BYTES:
            self._refuse(heads.too_large())
        elif self._in_body:
            self._set_deadline(STALLED_S)
        elif self._in_head:
            if self._deadline is None:  # however it trickles, a head has one deadline
                self._set_deadline(STALLED_S)
        elif self._deadline is not None:
            self._set_deadline(None)

    def _feed(self, data: bytes) -> None:
        """Give `data` to the parser.

        It stops after the head of a request that asks for an upgrade, and takes what follows for
        another protocol's. A WebSocket is handed over there. No other upgrade is taken: the head
        is parsed again without the header that asks for it.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except HttpParserUpgrade as upgrade:
                if self._should_upgrade():
                    self._set_deadline(None)
                    self.handle_websocket_upgrade()
                    return
                method, version = self.parser.get_method(), self.parser.get_http_version()
                head = heads.without_upgrade(method, self.url, version, self.headers)
                data = head + data[upgrade.args[0] :]
                # A new parser, since after Connection: close the old one reads nothing more.
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _should_upgrade(self) -> bool:
        """Return whether the request, which asks for an upgrade, asks for a WebSocket."""
        return (
            self.ws_protocol_class is not None
            and self.parser.get_method() == b"GET"
            and any(n == b"upgrade" and v.lower() == b"websocket" for n, v in self.headers)
        )

    @property
    def _in_head(self) -> bool:
        return self.scope is not None and "method" not in self.scope

    def on_headers_complete(self) -> None:
        """Check the head, and begin to serve the request. Raises Refusal."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refusal(501, "not_implemented", "this server is no proxy")
            if self._should_upgrade():
                super().on_headers_complete()
            return
        # What came with the head may be a body, so that only now its size is known.
        if self._idle_bytes > HEAD_BYTES < heads.size_bytes(self.url, self.headers):
            raise heads.too_large()
        if heads.is_unusual(self.url, self.headers):
            version = self.parser.get_http_version()
            self.url = heads.normalize(self.url, self.headers, version)
            self.expect_100_continue &= version == "1.1"
        super().on_headers_complete()
        self.headers = []  # for the trailers, which are no headers
        if self.expect_100_continue:
            # If the response comes before the body, the body may never come.
            self._keep_alive, self.cycle.keep_alive = self.cycle.keep_alive, False
        self._idle_bytes, self._in_body = 0, True

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take note that the request has come whole."""
        if self.parser.should_upgrade():
            return
        self._idle_bytes, self._in_body = 0, False
        if self.expect_100_continue:
            self.cycle.keep_alive = self._keep_alive
        super().on_message_complete()

    def _set_deadline(self, after_s: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if after_s is not None:
            self._deadline = self.loop.call_later(after_s, self._too_late, after_s)

    def _too_late(self, after_s: float) -> None:
        if self.flow.read_paused:  # the client may have sent it all
            self._set_deadline(after_s)
        else:
            self._refuse(Refusal(408, "request_timeout", f"nothing more came for {after_s:g} s"))

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks for it
        """Return whether to keep the connection: the client sends no more, but may still read."""
        if self._refused:
            return not self.transport.is_closing()
        if self._in_body or self._in_head:
            self._refuse(Refusal(400, "bad_request", "the request ended before it was complete"))
            return not self.transport.is_closing()
        if self.cycle is None or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        self.loop.call_later(HALF_CLOSED_S, self._give_up, HALF_CLOSED_S)
        return True

    def _give_up(self, after_s: float) -> None:
        """Stop work for a client that closed its writing half: it looks like one that has gone."""
        if self._refused or self.cycle.response_started or self.transport.is_closing():
            return
        if self.pipeline:
            self.loop.call_later(after_s, self._give_up, after_s)
            return
        self._in_body = True  # so that the refusal takes the place of the response
        detail = f"the client closed its writing half, and no response was ready in {after_s:g} s"
        self._refuse(Refusal(400, "bad_request", detail))

    def _refuse(self, refusal: Refusal) -> None:
        """Send `refusal` after the responses that are due before it, and close the connection.

        A request whose body was at fault is being served already: that comes to an end.
        """
        self._refused = True
        self._set_deadline(None)
        self.transport.lingers = True  # type: ignore[attr-defined]  # it is a CoalescingTransport
        if self._in_body:
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.pipeline:
                self.pipeline.popleft()
            else:
                self.cycle.response_complete = True
        # uvicorn is to take it for the next request, to which this is the application.
        self.on_message_begin()
        self.url = b"/"
        self.app = refusal.response()
        super().on_headers_complete()
        self.cycle.keep_alive = False


class CoalescingTransport:
    """Hold a response's head back until the next write, or the end of the event loop's round.

    uvicorn writes the head as soon as it has it and the body after it: two system calls and two
    packets a response, which costs a tenth of a server's time on small steps.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.lingers = False  # whether the client is to read a refusal, though it still sends
        self._transport, self._loop = transport, loop
        self._head = b""
        self._closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write `data` after the head that is held back; hold back a head itself."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(_CONTINUE):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Return whether `close` was called, or the connection is lost."""
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Close once all is written.

        A socket closed with bytes unread resets the connection, and the client loses what it has
        not read. Where it may still be sending (`lingers`), the writing half is closed at once and
        the rest once the client has closed its own, or after LINGER_S.
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
