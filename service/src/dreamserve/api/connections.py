"""What all connections of a server share: their number, and the bytes that they hold together.

Every bound is checked before the memory is used, or soon after it: a client that reads or sends
slowly, or not at all, takes from these budgets, and its connection ends when its time is over.
"""

import asyncio
import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Protocol

from dreamserve.api.groups import Groups
from dreamserve.settings import Settings
from dreamserve_protocol.errors import OverloadedError

RESERVE = 32  # connections beyond the limit that are told so; of these, probes are answered
STALLED_S = 2.0  # without reading for this long, a client is the first to go
PENDING_BYTES = 16 * 1024  # of a stream's request whose response waits, without large arrays
CHECK_S = 5.0  # longest interval of a connection's checks
LOG_EVERY_S = 60.0

log = logging.getLogger("dreamserve")


class Connection(Protocol):
    """One connection, as the others' bounds concern it."""

    transport: Any
    leaves: bool  # whether it was closed to make room

    @property
    def idle_since_s(self) -> float | None:
        """Loop time since which it has done nothing; None while it is being served."""


class Socket(Protocol):
    """One WebSocket's application."""

    @property
    def in_progress(self) -> bool:
        """Whether requests on it are not answered yet."""


class Budget:
    """Bytes held by many, with a limit. For one event loop."""

    def __init__(self, limit: int, what: str) -> None:
        self.limit, self.held, self._what = limit, 0, what
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def excess(self) -> int:
        """Bytes to free so that the limit is kept and the first who waits can proceed."""
        return self.held + (self._waiting[0][0] if self._waiting else 0) - self.limit

    def check(self, more: int = 1) -> None:
        """Raise OverloadedError unless there is room for `more` bytes and nobody waits."""
        if self._waiting or self.held + more > self.limit:
            raise OverloadedError(f"{self._what} hold {self.limit} bytes, the limit of all clients")

    def hold(self, count: int) -> None:
        """Hold `count` more bytes, beyond the limit if need be."""
        self.held += count

    def take(self, count: int) -> None:
        """Hold `count` more bytes. Raises OverloadedError."""
        self.check(count)
        self.held += count

    async def wait_for(self, count: int) -> int:
        """Hold about `count` bytes as soon as there is room; return how many to free later."""
        count = min(count, self.limit)
        if self._waiting or self.held + count > self.limit:
            granted = asyncio.get_running_loop().create_future()
            self._waiting.append((count, granted))
            try:
                await granted
            except asyncio.CancelledError:
                if granted.done() and not granted.cancelled():
                    self.free(count)
                raise
        else:
            self.held += count
        return count

    def free(self, count: int) -> None:
        """Give back bytes, and let those who wait proceed."""
        self.held -= count
        while self._waiting:
            wanted, granted = self._waiting[0]
            if not granted.cancelled():
                if self.held + wanted > self.limit:
                    return
                self.held += wanted
                granted.set_result(None)
            self._waiting.popleft()


class Connections:
    """The bounds of a server's connections, and what these hold now."""

    def __init__(self, settings: Settings, jobs: Callable[[], int] = lambda: 0) -> None:
        self.settings, self.groups = settings, Groups(jobs)
        self.most = settings.max_connections  # `files.connection_limit` may lower it
        self.bodies = Budget(settings.max_bodies_bytes, "bodies of requests")
        # Two, because who waits for room for a response has its result already.
        self.results = Budget(settings.max_responses_bytes, "results that wait to be encoded")
        self.responses = Budget(settings.max_responses_bytes, "responses that clients do not read")
        self.draining = False  # whether each response is the last of its connection
        timeouts_s = (
            settings.head_timeout_s,
            settings.transfer_timeout_s,
            settings.idle_timeout_s,
            settings.socket_idle_timeout_s,
        )
        self.check_s = min(CHECK_S, *(timeout_s / 4 for timeout_s in timeouts_s))
        self.sockets: set[Socket] = set()
        self._unread: dict[Connection, tuple[int, float]] = {}  # bytes, since when; oldest first
        self._leaving = 0  # connections that were closed to make room and are still counted
        self._logged_at_s = float("-inf")

    def check_room(self) -> None:
        """Raise OverloadedError unless there is room for another large result."""
        self.results.check()
        self.responses.check()

    def has_room(self, newcomer: Connection, present: Collection[Connection]) -> bool:
        """Return whether a new connection, which is already present, is within the limit.

        The connections that have been idle for the longest are closed to make room.
        """
        excess = len(present) - self._leaving - self.most
        if excess <= 0:
            return True
        idle = [
            (since_s, id(one), one)
            for one in present
            if one is not newcomer
            and not one.transport.is_closing()
            and (since_s := one.idle_since_s) is not None
        ]
        # Some more than necessary, so that not every new connection searches for others.
        for _, _, one in heapq.nsmallest(excess + self.most // 32, idle):
            self._leaving, one.leaves = self._leaving + 1, True
            one.transport.abort()
        self._log(len(idle))
        return bool(idle)

    def lost(self, connection: Connection) -> None:
        """Note that a connection has ended."""
        self.read(connection)
        self._leaving -= connection.leaves

    def _log(self, idle: int) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_at_s >= LOG_EVERY_S:
            self._logged_at_s = now_s
            done = "closed those that were idle for the longest" if idle else "new ones are refused"
            log.warning("%d connections, the limit, are open: %s", self.most, done)

    def unread(self, connection: Connection, count: int, now_s: float) -> None:
        """Note that a client has left `count` bytes unread."""
        before, since_s = self._unread.get(connection, (0, now_s))
        self._unread[connection] = count, since_s
        self.responses.held += count - before
        self.relieve(now_s)

    def read(self, connection: Connection) -> None:
        """Note that a client has read what was sent to it, or is gone."""
        count, _ = self._unread.pop(connection, (0, 0.0))
        self.responses.free(count)

    @property
    def slow_readers(self) -> int:
        """Number of clients that have not read all that was sent to them."""
        return len(self._unread)

    def unread_since_s(self, connection: Connection) -> float | None:
        """Return the loop time since which a client has not read all; None if it has."""
        return self._unread[connection][1] if connection in self._unread else None

    def relieve(self, now_s: float) -> None:
        """While unread responses leave no room, disconnect who has stalled for longest."""
        excess = self.responses.excess
        if excess <= 0:
            return
        for connection, (count, since_s) in list(self._unread.items()):
            if excess <= 0 or now_s - since_s < STALLED_S:
                return
            if not connection.transport.is_closing():
                connection.transport.abort()
            excess -= count
