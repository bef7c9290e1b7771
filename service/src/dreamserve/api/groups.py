"""Requests that will probably be refused are read in groups, so that refusals cost less.

While plans are computed, the interpreter's code and data leave the processor's caches: a single
refusal then takes several times as long as the next of a group, and hundreds a second take that
time from the plans. So a request to a path on which another was refused a moment ago waits, for
WAIT_S at most, and is read with those that arrive meanwhile; it may then be accepted or refused.
Requests to other paths, such as steps, and plans with a deadline are read at once.
"""

import asyncio
import time
from collections.abc import Callable

WAIT_S = 0.025  # refusals of an even load must arrive within 50 ms
GROUP = 16  # requests that are read without a longer wait
RECENT_S = 0.1  # since the last refusal on a path
FEW_JOBS = 8  # with less long work in progress, the engine could have nothing to do meanwhile
MOST_BYTES = 16 * 1024  # of a request that waits
PATHS = 16
_URGENT = (b"budget_ms", b"x-request-timeout:")  # in a request whose caller has little time


class Groups:
    """Requests that wait to be read, of one event loop; `jobs` returns the jobs in progress."""

    def __init__(
        self, jobs: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._jobs, self._clock = jobs, clock
        self.refused_at_s: dict[bytes, float] = {}  # by path; empty: no request waits
        self._waiting: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def refused(self, path: bytes) -> None:
        """Note that a request to `path` was refused because of the load."""
        if path not in self.refused_at_s and len(self.refused_at_s) >= PATHS:
            self.refused_at_s.clear()
        self.refused_at_s[path] = self._clock()

    def must_wait(self, data: bytes) -> bool:
        """Return whether a request, which begins with `data`, waits for its group."""
        if len(data) > MOST_BYTES:
            return False
        path = data[data.find(b" ") + 1 :].partition(b" ")[0]
        refused_at_s = self.refused_at_s.get(path)
        if refused_at_s is None or self._jobs() < FEW_JOBS:
            return False
        if self._clock() - refused_at_s > RECENT_S:
            del self.refused_at_s[path]
            return False
        text = data.lower()
        return not any(sign in text for sign in _URGENT)

    def add(self, read: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Call `read` when its group is complete, or after WAIT_S."""
        self._waiting.append(read)
        if len(self._waiting) >= GROUP:
            self.read()
        elif self._timer is None:
            self._timer = loop.call_later(WAIT_S, self.read)

    def read(self) -> None:
        """Read all requests that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for read in waiting:
            read()
