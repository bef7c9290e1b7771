"""How a WebSocket is opened: by which URL, proxy and certificates, and why it could not be."""

from time import monotonic
from typing import Any

import httpx
import websockets.asyncio.client
import websockets.sync.client
from websockets.exceptions import (
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)
from websockets.protocol import State

from dreamserve_client.environment import proxy_of, server_url, tls_of
from dreamserve_client.errors import APIConnectionError, APITimeoutError, ProtocolError
from dreamserve_client.problems import problem_in
from dreamserve_client.timeouts import CONNECT_S
from dreamserve_client.tracing import trace_headers
from dreamserve_client.transports.http import USER_AGENT
from dreamserve_client.transports.routing import routing_headers

CLOSE_S = 5.0  # how long a server may take to close a socket
READ_BYTES = 2**16


class Opening:
    """Opens WebSockets to one server; a load balancer finds it by the `route`.

    That is in the query and, as in requests, in headers: a load balancer hashes one of them.
    """

    def __init__(self, base_url: str, route: str | None = None, api_key: str | None = None) -> None:
        url = server_url(base_url)
        self.url = str(url.copy_with(scheme=url.scheme.replace("http", "ws"))).rstrip("/")
        self._proxy = proxy_of(url)
        self._options: dict[str, Any] = {
            "uri": f"{self.url}/stream{'' if route is None else f'?session_id={route}'}",
            "ssl": tls_of(url),
            "proxy": None if self._proxy is None else self._proxy.url,
            "compression": None,  # arrays do not shrink, and the server does not offer it
            "max_size": None,
            "close_timeout": CLOSE_S,
            "user_agent_header": USER_AGENT,
        }
        self._headers = routing_headers(route)
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"
        if self._proxy is not None and (proxy := httpx.URL(self._proxy.url)).scheme == "https":
            self._options["proxy_ssl"] = tls_of(proxy)

    async def open_async(self, keep_alive_s: float) -> websockets.asyncio.client.ClientConnection:
        """Return an open connection. Raises the SDK's errors."""
        try:
            return await websockets.asyncio.client.connect(
                **self._options,
                additional_headers=self._all_headers(),
                open_timeout=CONNECT_S,
                ping_interval=keep_alive_s,
                ping_timeout=keep_alive_s,
            )
        except Exception as error:
            raise self._refused(error, CONNECT_S) from error

    def open(self, timeout_s: float) -> "Connection":
        """Return an open connection, which nothing reads yet. Raises the SDK's errors."""
        try:
            connection = websockets.sync.client.connect(
                **self._options,
                additional_headers=self._all_headers(),
                open_timeout=timeout_s,
                ping_interval=None,
                create_connection=Connection,
            )
        except Exception as error:
            raise self._refused(error, timeout_s) from error
        assert isinstance(connection, Connection)
        return connection

    def _all_headers(self) -> dict[str, str]:
        """Return the headers of a handshake; websockets sends them to no other host.

        They name the span of the call that opens the connection.
        """
        return {**self._headers, **trace_headers()}

    def _refused(self, error: Exception, waited_s: float) -> Exception:
        """Return the SDK's error for a connection that was not made."""
        if isinstance(error, TimeoutError):
            return APITimeoutError.after(waited_s, self.url, sent=False)
        if isinstance(error, InvalidStatus):
            response, status = error.response, error.response.status_code
            origin = f"{self.url}/stream answered {status} {response.reason_phrase}"
            if status >= 400:
                return problem_in(origin, status, response.headers, bytes(response.body or b""))
            return ProtocolError(f"{origin}; is base_url a dreamserve server?")
        if self._proxy is not None and isinstance(error, ImportError | InvalidURI):
            return self._proxy.refused(error)
        if isinstance(error, OSError | InvalidMessage | ProxyError | EOFError):
            way = "" if self._proxy is None else f" by {self._proxy.variable}"
            return APIConnectionError(f"no connection to {self.url}{way}: {error}")
        if isinstance(error, InvalidHandshake):
            return ProtocolError(f"{self.url}: {error}; is base_url a dreamserve server?")
        return error


class Connection(websockets.sync.client.ClientConnection):
    """The connection that websockets makes for blocking threads, without its reading thread."""

    def recv_events(self) -> None:
        """Read nothing; the base class runs this in a thread."""
        self.shutdown_watcher.close()

    def handshake(
        self,
        additional_headers: Any = None,
        user_agent_header: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Open the WebSocket in this thread. Raises as websockets does."""
        until_s = monotonic() + (CONNECT_S if timeout is None else timeout)
        request = self.protocol.connect()
        if user_agent_header is not None:
            request.headers["User-Agent"] = user_agent_header
        if additional_headers is not None:
            request.headers.update(additional_headers)
        self.protocol.send_request(request)
        try:
            self._finish_handshake(until_s)
        except BaseException:  # websockets itself closes the socket after an Exception only
            self.close_socket()
            raise

    def _finish_handshake(self, until_s: float) -> None:
        while self.protocol.state is State.CONNECTING:
            self.socket.settimeout(max(until_s - monotonic(), 1e-3))
            for data in filter(None, self.protocol.data_to_send()):
                self.socket.sendall(data)
            if data := self.socket.recv(READ_BYTES):
                self.protocol.receive_data(data)
            else:
                self.protocol.receive_eof()
            if self.protocol.handshake_exc is not None:
                raise self.protocol.handshake_exc
