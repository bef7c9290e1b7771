"""Bytes that many clients hold, with a limit, and fair among them.

A client may hold one thing of any size, and more only while as many bytes are free as it holds
itself: dynamic thresholds, as Choudhury and Hahne gave to queues that share a switch's memory
(https://doi.org/10.1109/90.664262). So of n clients that want everything each gets one part in
n + 1, and there is room for the next one without taking anything away. Those who wait for room get
it in turns, client by client.
"""

import asyncio
from collections import deque

from dreamserve_protocol.errors import OverloadedError

Waiting = deque[tuple[int, "asyncio.Future[None]"]]


class Budget:
    """What clients hold of one thing. For one event loop; any thread may `check`."""

    def __init__(self, limit: int, what: str) -> None:
        self.limit, self.held, self._what = limit, 0, what
        self._held_by: dict[str, int] = {}
        self._waiting: dict[str, Waiting] = {}  # by client, in the order of their turns

    def held_by(self, client: str) -> int:
        """Return the bytes that a client holds."""
        return self._held_by.get(client, 0)

    def lacks(self, count: int) -> int:
        """Return the bytes that are lacking for `count` more of any client; else at most 0."""
        return self.held + count - self.limit

    def lacks_of(self, client: str, count: int, already: int = 0) -> int:
        """Return how many of its own bytes a client must give back before it holds `count` more.

        `already`: what it holds for the same thing. At most 0 if there is no need.
        """
        own = self.held_by(client)
        if own <= already:
            return 0
        return (own + count + self.lacks(count) + 1) // 2  # what it gives back is free as well

    @property
    def excess(self) -> int:
        """Bytes to free so that the limit is kept and the next who waits can proceed."""
        for client, waiting in self._waiting.items():
            count = waiting[0][0]
            return max(self.lacks(count), self.lacks_of(client, count))
        return self.lacks(0)

    def check(self, client: str | None = None, more: int = 1, already: int = 0) -> None:
        """Raise OverloadedError unless there is room for `more` bytes, of this client if given."""
        if self.lacks(more) > 0:
            raise OverloadedError(f"{self._what} hold {self.limit} bytes, the limit of all clients")
        if client is None:
            return
        if client in self._waiting or self.lacks_of(client, more, already) > 0:
            own = self.held_by(client)
            raise OverloadedError(f"your {self._what} hold {own} bytes, your share for now")

    def hold(self, count: int, client: str = "") -> None:
        """Hold `count` more bytes, beyond the limit if need be."""
        self.held += count
        self._held_by[client] = self.held_by(client) + count

    def take(self, count: int, client: str = "", already: int = 0) -> None:
        """Hold `count` more bytes, beside `already` for the same thing. Raises OverloadedError."""
        self.check(client, count, already)
        self.hold(count, client)

    async def wait_for(self, count: int, client: str = "") -> int:
        """Hold about `count` bytes as soon as there is room; return how many to free later."""
        count = min(count, self.limit)
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append((count, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.free(count, client)
            else:
                self._grant()
            raise
        return count

    def free(self, count: int, client: str = "") -> None:
        """Give back bytes, and let those who wait proceed."""
        self.held -= count
        left = self.held_by(client) - count
        if left:
            self._held_by[client] = left
        else:
            self._held_by.pop(client, None)
        if self._waiting:
            self._grant()

    def _grant(self) -> None:
        """Let those proceed for whom there is room."""
        while self._grant_next():
            pass

    def _grant_next(self) -> bool:
        """Let the next one proceed, if there is room; return whether that was so.

        All wait for the first who lacks room. Who holds too much is passed by.
        """
        for client, waiting in list(self._waiting.items()):
            while waiting and waiting[0][1].cancelled():
                waiting.popleft()
            if not waiting:
                del self._waiting[client]
                continue
            count, granted = waiting[0]
            if self.lacks_of(client, count) > 0:
                continue
            if self.lacks(count) > 0:
                return False
            waiting.popleft()
            self.hold(count, client)
            granted.set_result(None)
            del self._waiting[client]
            if waiting:
                self._waiting[client] = waiting  # its next turn is the last
            return True
        return False
