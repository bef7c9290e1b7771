"""A connection whose client has limited time: what HTTP and WebSockets have in common."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from dreamserve.api.access.clients import client_of
from dreamserve.api.connections import Connections


class Bounded(asyncio.Protocol, ABC):
    """A mixin before one of uvicorn's protocols, which are protocols of asyncio, too."""

    loop: asyncio.AbstractEventLoop
    transport: Any
    connections: set[Any]
    shared: Connections
    scope: Any  # of its last request, once there is one
    client: tuple[str, int] | None
    _closing_since_s: float | None = None
    leaves = False
    pending_bytes = 0  # of what waits behind an unread response

    def watch(self) -> None:
        """Begin to check the connection in intervals."""
        self.loop.call_later(self.shared.check_s, self._watch)

    def pause_writing(self) -> None:
        """Note that the client reads too slowly."""
        super().pause_writing()
        count = self.transport.get_write_buffer_size() + self.pending_bytes
        self.shared.unread(self, count, self.loop.time())

    def resume_writing(self) -> None:
        """Note that the client has read."""
        super().resume_writing()
        self.shared.read(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what the connection held."""
        self.shared.lost(self)
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self not in self.connections:
            return
        now_s = self.loop.time()
        unread_s = self.shared.unread_since_s(self)
        if self.transport.is_closing():
            self._closing_since_s = unread_s = self._closing_since_s or unread_s or now_s
        else:
            self._check_time(now_s)
        if unread_s is not None and now_s - unread_s > self.shared.settings.transfer_timeout_s:
            self.transport.abort()
        self.shared.relieve(now_s)
        self.loop.call_later(self.shared.check_s, self._watch)

    @property
    def counts_for(self) -> str:
        """For whom the connection's bytes count."""
        return client_of(getattr(self, "scope", None) or {"client": self.client})

    @property
    @abstractmethod
    def idle_since_s(self) -> float | None:
        """Loop time since which nothing happens; None while the client is being served."""

    @abstractmethod
    def _check_time(self, now_s: float) -> None:
        """Close or refuse the connection if its client takes too long."""
