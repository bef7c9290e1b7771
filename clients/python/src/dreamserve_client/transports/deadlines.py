"""Blocking connections that keep a deadline for a whole request.

httpx bounds each wait for the network alone, so a server that sends a byte now and then is never
late. httpcore, on which httpx stands, takes the network as an object; the one here bounds every
wait by what is left until the deadline.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from math import inf
from time import monotonic
from typing import Any

import httpcore
import httpx

from dreamserve_protocol.interrupts import Signals

UNTIL = "until_s"  # the deadline among a request's extensions, by the monotonic clock
SIGNALS = "signals"  # also among them: those that are heard only while the network is waited for
SIGNALS_S = 0.05  # how often they are looked for in other waits
_LEAST_S = 1e-3  # with 0 a socket would not wait at all
_PIECE_BYTES = 2**16  # of a request's body, each of which has a wait of its own


class PunctualTransport(httpx.HTTPTransport):
    """An httpx transport for one request at a time, which ends at its deadline, if it has one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._clock = _Clock()
        # httpx has no option for it
        self._pool._network_backend = _Network(self._pool._network_backend, self._clock)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises as an httpx transport."""
        self._clock.until_s = request.extensions.get(UNTIL, inf)
        self._clock.signals = request.extensions.get(SIGNALS)
        return super().handle_request(request)


class _Clock:
    """How long the request that is in progress may still wait, and what may interrupt that."""

    until_s = inf
    signals: Signals | None = None

    def waiting(self) -> AbstractContextManager[None]:
        """Return the context of a wait, which a signal may end."""
        return nullcontext() if self.signals is None else self.signals.heard()

    def left_s(self, timeout_s: float | None) -> float | None:
        left_s = max(self.until_s - monotonic(), _LEAST_S)
        if timeout_s is None:
            return None if left_s == inf else left_s
        return min(timeout_s, left_s)


class _Network(httpcore.NetworkBackend):
    """Makes connections whose waits the clock bounds."""

    def __init__(self, network: httpcore.NetworkBackend, clock: _Clock) -> None:
        self._network, self._clock = network, clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = self._clock.left_s(timeout)
        with self._clock.waiting():
            stream = self._network.connect_tcp(host, port, left_s, local_address, socket_options)
        return _Stream(stream, self._clock)


class _Stream(httpcore.NetworkStream):
    """One connection."""

    def __init__(self, stream: httpcore.NetworkStream, clock: _Clock) -> None:
        self._stream, self._clock = stream, clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._clock.waiting():
            return self._stream.read(max_bytes, self._clock.left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for at in range(0, len(buffer), _PIECE_BYTES):
            piece = buffer[at : at + _PIECE_BYTES]
            with self._clock.waiting():
                self._stream.write(piece, self._clock.left_s(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._clock.left_s(timeout)
        with self._clock.waiting():
            stream = self._stream.start_tls(ssl_context, server_hostname, left_s)
        return _Stream(stream, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
