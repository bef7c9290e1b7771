"""The server process: binds a socket, runs uvicorn, drains on SIGTERM, and exits with 0."""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from dreamserve import logs
from dreamserve.api.files import connection_limit
from dreamserve.api.handshaking import BACKLOG, Handshakes
from dreamserve.api.service import Service
from dreamserve.api.tls import tls_context
from dreamserve.api.websocket import StreamProtocol, is_error
from dreamserve.api.wire import Protocol
from dreamserve.errors import SettingsError
from dreamserve.listed import in_both_families
from dreamserve_protocol.errors import DreamserveError

CLOSING_S = 5.0  # for requests in progress to be finished, and for their clients to read
ANSWERING_S = 1.0  # for results that are ready to be sent
POLL_S = 0.01
SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
HSTS = "max-age=31536000"  # browsers that were here by HTTPS come by HTTPS only, for a year
PING_S = 20.0  # interval of a WebSocket's pings, and the time to answer one
_REMEDIES = {
    errno.EADDRINUSE: "; stop the other process, or choose another port with --port (0: any)",
    errno.EACCES: "; ports below 1024 need privileges: choose another with --port",
    errno.EADDRNOTAVAIL: "; --host must be an address of this machine, such as 127.0.0.1",
}

log = logging.getLogger("dreamserve")


def bind(host: str, port: int) -> socket.socket:
    """Return a socket with this address. Raises SettingsError if the address is in use.

    It does not listen yet: until `serve` answers, connections must be refused, so that a load
    balancer sends requests elsewhere at once instead of waiting while worlds are loaded.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm, which costs 40 ms a response, only if the socket has the
    # protocol IPPROTO_TCP; `socket.create_server` leaves it 0.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise _refused(host, port, error) from None
    return listening


def _refused(host: str, port: int, error: OSError) -> SettingsError:
    reason, remedy = error.strerror or str(error), _REMEDIES.get(error.errno or 0, "")
    return SettingsError(f"cannot listen on {host} port {port}: {reason}{remedy}")


class Server(uvicorn.Server):
    """uvicorn's server, which answers what it has accepted before it stops.

    SIGTERM or SIGHUP: not ready, no new sessions unless other servers can continue them; existing
    ones are served and requests finished.
    Stops once nothing is in progress and no session is in use, or after `drain_s`. SIGINT, or a
    second signal: stops after the requests in progress, within CLOSING_S. The next: at once.
    Requests that are not finished in time are refused as `draining`.
    """

    def __init__(self, app: ASGIApp, service: Service, on_started: Callable[[], None]) -> None:
        """Load the certificate. Raises SettingsError if that fails."""
        settings, shared = service.settings, service.connections
        tls = tls_context(settings)
        http = partial(Protocol, shared=shared, problems=service.problems)
        ws = partial(StreamProtocol, shared=shared)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                http=http,  # type: ignore[arg-type]  # a callable is enough
                ws=ws,  # type: ignore[arg-type]
                ws_max_size=settings.max_body_bytes,
                ws_ping_interval=PING_S,
                ws_ping_timeout=PING_S,
                ws_per_message_deflate=False,  # compression takes longer than a step
                # At the level debug, it and websockets log all headers, with API keys.
                log_level="info" if settings.log_level == "debug" else "warning",
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=in_both_families(settings.trusted_proxies),
                ssl_context_factory=None if tls is None else lambda *_: tls,
                headers=[] if tls is None else [("strict-transport-security", HSTS)],
            )
        )
        logging.getLogger("uvicorn.error").addFilter(is_error)
        logging.getLogger("websockets").setLevel(logging.INFO)
        self._service, self._shared = service, shared
        self._on_started = on_started
        self._handshakes: list[Handshakes] = []
        self._drain_until_s = float("inf")
        self._is_late = False  # whether requests in progress have had their time

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving, and call `on_started`."""
        context = self.config.ssl
        await super().startup(sockets if context is None else [])
        if context is not None and self.started:
            self._handshakes = [self._listen(one, context) for one in sockets or ()]
        # Objects made until now stay alive. Without freezing them, garbage collection delays one
        # step in a hundred by tens of milliseconds.
        gc.collect()
        gc.freeze()
        if self.started:
            self._on_started()

    def _listen(self, listening: socket.socket, context: ssl.SSLContext) -> Handshakes:
        """Accept connections with TLS."""
        protocol: Any = self.config.http_protocol_class
        state, connections = self.server_state, self.server_state.connections
        make = partial(
            protocol, config=self.config, server_state=state, app_state=self.lifespan.state
        )
        return Handshakes(listening, context, self._shared, lambda: len(connections), make)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving, as far as the process does not ignore them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heeded = [one for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
        before = {one: signal.signal(one, self.handle_exit) for one in heeded}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal, without raising it again as uvicorn does, so the exit status is 0."""
        if self.should_exit:
            self.force_exit = self._is_late
            self._is_late = True
            return
        drain_s = self._service.settings.drain_s
        if sig != signal.SIGINT and not self._service.engine.draining:
            self._drain_until_s = time.monotonic() + drain_s
            fields = {"sessions": self._service.engine.session_count, "within_s": drain_s}
            log.info("draining", extra={"fields": fields})
        else:
            self.should_exit = True
            log.info("stopping")
        self._drain()

    def _drain(self) -> None:
        """Refuse new sessions, and announce in each response that its connection closes."""
        self._service.engine.drain()
        self._shared.draining = True
        self._shared.groups.read()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Protocol):
                connection.stop_keeping_alive()

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop; uvicorn calls it ten times a second."""
        logs.roll()
        if self._service.failure is not None:
            self.should_exit = True
        elif self._service.engine.draining and not self.should_exit:
            self._is_late = time.monotonic() >= self._drain_until_s
            self.should_exit = self._is_late or not (self._is_busy() or self._is_used())
        return await super().on_tick(counter)

    def _is_busy(self) -> bool:
        """Return whether a complete request has no response yet."""
        return (
            not self._service.engine.idle
            or any(socket.in_progress for socket in self._shared.sockets)
            or any(
                connection.is_responding
                for connection in self.server_state.connections
                if isinstance(connection, Protocol)
            )
        )

    def _is_used(self) -> bool:
        """Return whether a request was about a session that exists, a short time ago."""
        engine = self._service.engine
        return engine.session_count > 0 and engine.unused_s < self._service.settings.drain_quiet_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer all requests, close all connections, and stop the engine."""
        self._drain()
        for listening in (*self.servers, *self._handshakes, *(sockets or ())):
            listening.close()
        deadline_s = 0.0 if self._is_late else CLOSING_S
        stopping = asyncio.create_task(asyncio.to_thread(self._service.engine.stop, deadline_s))
        await self._wait_while(lambda: not (stopping.done() or self._is_late), CLOSING_S + 1)
        if not stopping.done():
            await asyncio.to_thread(self._service.engine.stop, 0.0)
        await self._wait_while(self._is_busy, ANSWERING_S)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._wait_while(lambda: bool(self.server_state.connections), CLOSING_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # its client reads nothing
        await self._wait_while(lambda: bool(self.server_state.tasks), ANSWERING_S)
        for task in list(self.server_state.tasks):
            task.cancel()
        await self.lifespan.shutdown()

    async def _wait_while(self, condition: Callable[[], bool], limit_s: float) -> None:
        until_s = time.monotonic() + limit_s
        while condition() and time.monotonic() < until_s and not self.force_exit:
            await asyncio.sleep(POLL_S)


def serve(
    app: ASGIApp,
    service: Service,
    listening: socket.socket,
    on_started: Callable[[], None],
) -> None:
    """Serve until a signal stops the server.

    Raises DreamserveError if it could not start, or what it has answered could not be recorded.
    """
    try:
        listening.listen(BACKLOG)  # fails if another server has begun to since `bind`
    except OSError as error:
        host, port = listening.getsockname()[:2]
        raise _refused(host, port, error) from None
    service.connections.most = connection_limit(service.settings.max_connections)
    server = Server(app, service, on_started)
    server.run([listening])
    failure = service.failure
    if failure is not None:
        raise DreamserveError(f"the engine could not start: {failure}") from failure
    if not server.started:
        raise DreamserveError("the server could not start; see the log above")
    if lost := service.engine.unrecorded:
        raise DreamserveError(f"{lost} sessions could not be recorded before the end")
