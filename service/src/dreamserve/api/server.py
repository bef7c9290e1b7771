"""The process around the application: it binds, says so in one line, drains, and exits 0."""

import errno
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from dreamserve.api.async_engine import Service
from dreamserve.api.websocket import StreamProtocol, is_error
from dreamserve.api.wire import Protocol
from dreamserve.errors import SettingsError
from dreamserve_protocol.errors import DreamserveError

KEEP_ALIVE_S = 75  # above the 60 s of common load balancers, which must be the first to hang up
CLOSING_S = 5
PING_S = 20.0  # a silent WebSocket is asked this often whether it lives, and has as long to answer
BACKLOG = 2048
_REMEDIES = {
    errno.EADDRINUSE: "; stop the other process, or choose another port with --port (0: any)",
    errno.EACCES: "; ports below 1024 need privileges: choose another with --port",
    errno.EADDRNOTAVAIL: "; --host must be an address of this machine, such as 127.0.0.1",
}

log = logging.getLogger("dreamserve")


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises SettingsError when the address is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off (40 ms an answer) only on
    # sockets that say they are TCP; `socket.create_server` leaves it out.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        remedy = _REMEDIES.get(error.errno or 0, "")
        raise SettingsError(f"cannot listen on {host} port {port}: {reason}{remedy}") from None
    return listening


class Server(uvicorn.Server):
    """uvicorn's server, which on SIGTERM first goes on for known sessions for a bounded time.

    SIGTERM: not ready, no new sessions; stop when no session is left or after `drain_s`. SIGINT, or
    a second SIGTERM: stop once the requests under way are answered. Another: stop now.
    """

    def __init__(self, app: ASGIApp, service: Service, on_started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                http=Protocol,
                ws=StreamProtocol,
                ws_max_size=service.settings.max_body_bytes,
                ws_ping_interval=PING_S,
                ws_ping_timeout=PING_S,
                ws_per_message_deflate=False,  # it costs more than a step
                log_level="debug" if service.settings.log_level == "debug" else "warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here asks where a request came from
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=CLOSING_S,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(is_error)
        self._service = service
        self._on_started = on_started
        self._drain_until = float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving, and say so."""
        await super().startup(sockets)
        # What was made until now stays: the collector need not look at it again and again, which
        # would hold up a step in a hundred for tens of milliseconds.
        gc.collect()
        gc.freeze()
        if self.started:
            self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal. uvicorn would raise it again at the end; this process exits 0."""
        if self.should_exit:
            self.force_exit = True
        elif sig == signal.SIGTERM and not self._service.engine.draining:
            self._service.engine.drain()
            drain_s = self._service.settings.drain_s
            self._drain_until = time.monotonic() + drain_s
            log.info("draining: no new sessions, stopping within %g s", drain_s)
        else:
            self._service.engine.drain()
            self.should_exit = True
            log.info("stopping")

    async def on_tick(self, counter: int) -> bool:
        """Tell uvicorn, ten times a second, whether to stop."""
        service = self._service
        if service.failure is not None:
            self.should_exit = True
        elif service.engine.draining and not self.should_exit:
            nobody_left = service.engine.session_count == 0
            self.should_exit = nobody_left or time.monotonic() >= self._drain_until
        return await super().on_tick(counter)


def serve(
    app: ASGIApp, service: Service, listening: socket.socket, on_started: Callable[[], None]
) -> None:
    """Serve until a signal ends it. Raises DreamserveError when serving never began."""
    server = Server(app, service, on_started)
    server.run([listening])
    failure = service.failure
    if failure is not None:
        raise DreamserveError(f"the engine could not start: {failure}") from failure
    if not server.started:
        raise DreamserveError("the server could not start; see the log above")
