"""How an HTTP connection ends: after its response, with a refusal, or when its client has gone.

uvicorn drops the response when the client closes its writing half, and responds to invalid HTTP in
plain text, ahead of the responses to earlier requests.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dreamserve.api.bounded import Bounded
from dreamserve.api.connections import Connections
from dreamserve.api.heads import Refusal, path_of
from dreamserve.api.problems import Problems
from dreamserve_protocol.errors import BadRequestError, DrainingError

HALF_CLOSED_S = 1.0  # interval of looking whether a client that ended its side is still there
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClosingProtocol(Bounded, HttpToolsProtocol):
    """uvicorn's HTTP protocol, whose connections end so that their clients learn why."""

    def __init__(
        self, *args: Any, shared: Connections, problems: Problems | None = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.shared, self._problems = shared, problems or Problems()
        self._in_head = self._in_body = False  # the body is that of `self.cycle`
        self._keep_alive = False  # after a request with Expect, whose body may never come
        self._refused = False

    @property
    def _responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_responding(self) -> bool:
        """Whether a complete request has no response yet."""
        return bool(self.pipeline) or (self._responding and not self._in_body)

    def stop_keeping_alive(self) -> None:
        """Announce in the response in progress that the connection closes."""
        self._keep_alive = False
        # One that has begun has promised to go on; the next one announces the end.
        if self._responding and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close after the response in progress; refuse an incomplete request."""
        if self._in_head or self._in_body:
            if not self._refused:
                self._refuse(Refusal(DrainingError("the server is shutting down")))
            return
        self._keep_alive = False
        super().shutdown()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks for it
        """Return whether to keep the connection: the client may still read the response."""
        if not self._refused and (self._in_body or self._in_head):
            self._refuse(Refusal(BadRequestError("the request ended before it was complete")))
        if self._refused:
            return self.scheme != "https" and not self.transport.is_closing()
        if not self._responding or self.scheme == "https":  # TLS has no half-closed connections
            return False
        self.cycle.keep_alive = False
        self.loop.call_later(HALF_CLOSED_S, self._look_for_client)
        return True

    def _look_for_client(self) -> None:
        """Write something to a half-closed connection: it fails if the client has gone.

        An interim response is no part of the response, and every client of HTTP/1.1 skips it.
        """
        if self._refused or not self._responding or self.transport.is_closing():
            return
        is_next = not self.pipeline and not self.cycle.response_started
        if is_next and self.cycle.scope["http_version"] != "1.0":
            self.transport.write(CONTINUE)
        self.loop.call_later(HALF_CLOSED_S, self._look_for_client)

    def _refuse(self, refusal: Refusal) -> None:
        """Send `refusal` after the responses to earlier requests, and close the connection."""
        self._refused = True
        request = self._known_of_request() if self.shared.settings.access_log else None
        self.flow.resume_reading()
        self.transport.lingers = True
        if self._in_body:  # the request is being served: stop that
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
            if self.pipeline:
                self.pipeline.popleft()
            else:
                self.cycle.response_complete = True
        # uvicorn treats the refusal as a request whose application sends the response.
        self.on_message_begin()
        self.url = b"/"
        self.app = refusal.response(self._problems, request)
        super().on_headers_complete()
        self.cycle.keep_alive = False

    def _known_of_request(self) -> dict[str, str]:
        """Return method and path of the incomplete request, as far as they have been read."""
        if self._in_body:
            return {"method": self.scope["method"], "path": self.scope["path"]}
        is_begun = self.scope is not None and "method" not in self.scope
        if not (is_begun and self.url):
            return {}
        return {"method": self.parser.get_method().decode("latin-1"), "path": path_of(self.url)}
