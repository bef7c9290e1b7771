"""The server process: binds a socket, runs uvicorn, drains on SIGTERM, and exits with 0."""

import errno
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from dreamserve import logs
from dreamserve.api.async_engine import Service
from dreamserve.api.tls import tls_context
from dreamserve.api.websocket import StreamProtocol, is_error
from dreamserve.api.wire import Protocol
from dreamserve.errors import SettingsError
from dreamserve_protocol.errors import DreamserveError

KEEP_ALIVE_S = 75  # longer than the 60 s of common load balancers, which must close first
CLOSING_S = 5
HSTS = "max-age=31536000"  # browsers that were here by HTTPS come by HTTPS only, for a year
PING_S = 20.0  # interval of a WebSocket's pings, and the time to answer one
BACKLOG = 2048
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
    """uvicorn's server, which on SIGTERM keeps serving existing sessions for a bounded time.

    SIGTERM: not ready, no new sessions; stops when no session is left or after `drain_s` seconds.
    SIGINT or a second SIGTERM: stops after the requests in progress. Another signal: stops now.
    """

    def __init__(self, app: ASGIApp, service: Service, on_started: Callable[[], None]) -> None:
        """Load the certificate. Raises SettingsError if that fails."""
        settings = service.settings
        tls = tls_context(settings)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                http=partial(Protocol, problems=service.problems),  # type: ignore[arg-type]  # a callable is enough
                ws=StreamProtocol,
                ws_max_size=settings.max_body_bytes,
                ws_ping_interval=PING_S,
                ws_ping_timeout=PING_S,
                ws_per_message_deflate=False,  # compression takes longer than a step
                # At the level debug, it and websockets log all headers, with API keys.
                log_level="info" if settings.log_level == "debug" else "warning",
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=settings.trusted_proxies,
                ssl_context_factory=None if tls is None else lambda *_: tls,
                headers=[] if tls is None else [("strict-transport-security", HSTS)],
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=CLOSING_S,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(is_error)
        logging.getLogger("websockets").setLevel(logging.INFO)
        self._service = service
        self._on_started = on_started
        self._drain_until = float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving, and call `on_started`."""
        await super().startup(sockets)
        # Objects made until now stay alive. Without freezing them, garbage collection delays one
        # step in a hundred by tens of milliseconds.
        gc.collect()
        gc.freeze()
        if self.started:
            self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal, without raising it again as uvicorn does, so the exit status is 0."""
        if self.should_exit:
            self.force_exit = True
        elif sig == signal.SIGTERM and not self._service.engine.draining:
            self._service.engine.drain()
            drain_s = self._service.settings.drain_s
            self._drain_until = time.monotonic() + drain_s
            fields = {"sessions": self._service.engine.session_count, "within_s": drain_s}
            log.info("draining: no new sessions", extra={"fields": fields})
        else:
            self._service.engine.drain()
            self.should_exit = True
            log.info("stopping")

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop; uvicorn calls it ten times a second."""
        service = self._service
        logs.roll()
        if service.failure is not None:
            self.should_exit = True
        elif service.engine.draining and not self.should_exit:
            no_sessions = service.engine.session_count == 0
            self.should_exit = no_sessions or time.monotonic() >= self._drain_until
        return await super().on_tick(counter)


def serve(
    app: ASGIApp,
    service: Service,
    listening: socket.socket,
    on_started: Callable[[], None],
) -> None:
    """Serve until a signal stops the server. Raises DreamserveError if it could not start."""
    try:
        listening.listen(BACKLOG)  # fails if another server has begun to since `bind`
    except OSError as error:
        host, port = listening.getsockname()[:2]
        raise _refused(host, port, error) from None
    server = Server(app, service, on_started)
    server.run([listening])
    failure = service.failure
    if failure is not None:
        raise DreamserveError(f"the engine could not start: {failure}") from failure
    if not server.started:
        raise DreamserveError("the server could not start; see the log above")
