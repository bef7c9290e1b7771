"""What all connections of a server share: their number, and the bytes that they hold together.

Every bound is checked before the memory is used, or soon after it: a client that reads or sends
slowly, or not at all, takes from these budgets, and its connection ends when its time is over.
"""

import heapq
import logging
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

from dreamserve.api.budgets import Budget
from dreamserve.api.groups import Groups
from dreamserve.settings import Settings

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
    def counts_for(self) -> str:
        """For whom its bytes count."""

    @property
    def idle_since_s(self) -> float | None:
        """Loop time since which it has done nothing; None while it is being served."""


class Socket(Protocol):
    """One WebSocket's application."""

    @property
    def in_progress(self) -> bool:
        """Whether requests on it are not answered yet."""


class Unread(NamedTuple):
    """What a connection's client has not read."""

    size: int  # bytes
    since_s: float  # loop time
    client: str


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
        self._unread: dict[Connection, Unread] = {}
        self._leaving = 0  # connections that were closed to make room and are still counted
        self._logged_at_s = float("-inf")

    def check_room(self, client: str | None = None) -> None:
        """Raise OverloadedError unless there is room for a large result, of `client` if given."""
        self.results.check(client)
        self.responses.check(client)

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
        before = self._unread.get(connection) or Unread(0, now_s, connection.counts_for)
        self._unread[connection] = before._replace(size=count)
        self.responses.hold(count - before.size, before.client)
        self.relieve(now_s)

    def read(self, connection: Connection) -> None:
        """Note that a client has read what was sent to it, or is gone."""
        if (unread := self._unread.pop(connection, None)) is not None:
            self.responses.free(unread.size, unread.client)

    @property
    def slow_readers(self) -> int:
        """Number of clients that have not read all that was sent to them."""
        return len(self._unread)

    def unread_since_s(self, connection: Connection) -> float | None:
        """Return the loop time since which a client has not read all; None if it has."""
        unread = self._unread.get(connection)
        return None if unread is None else unread.since_s

    def relieve(self, now_s: float) -> None:
        """While unread responses leave no room, disconnect those that have stalled.

        First those of the client that holds the most, and of these who has stalled for longest.
        """
        excess = self.responses.excess
        if excess <= 0:
            return

        def order(one: tuple[Connection, Unread]) -> tuple[int, float]:
            return -self.responses.held_by(one[1].client), one[1].since_s

        for connection, unread in sorted(self._unread.items(), key=order):
            if excess <= 0:
                return
            if now_s - unread.since_s < STALLED_S:
                continue
            if not connection.transport.is_closing():
                connection.transport.abort()
            excess -= unread.size
