"""The pace of refusals: a client that ignores Retry-After waits, so that the work goes on.

A refusal takes little time, but thousands a second would keep the interpreter from the engine's
thread. So a request that was refused before, and comes again before its Retry-After has passed, is
refused at a slow pace, and all others at a fast one; after a burst, refusals are held back, each
for at most about LONGEST_S. A client with one request per connection then sends few, and nothing
but its connection is held meanwhile. What is held back is due at multiples of TOGETHER_S, as
refusals in a row cost less than single ones (`groups`).
"""

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from typing import Any

from dreamserve_protocol.errors import OverloadedError

FIRST_PER_S, FIRST_BURST = 1000, 500
AGAIN_PER_S, AGAIN_BURST = 100, 50  # of those that come too early
LONGEST_S = 5.0  # that a refusal is held back
TOGETHER_S = 0.1
LEAST_WAIT_S = 1.0  # the shortest Retry-After, a number of whole seconds
REMEMBERED = 10_000  # refused requests


class Refusals:
    """Counts the refusals of one server, by its event loop's clock.

    Requests of one owner about one session are the same request, as are all that name no session.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first, self._again = Pace(FIRST_PER_S, FIRST_BURST), Pace(AGAIN_PER_S, AGAIN_BURST)
        self._not_before_s: OrderedDict[tuple[str, Any], float] = OrderedDict()

    def delay_s(self, owner: str, request: Any, error: OverloadedError) -> float:
        """Return how long to hold back the refusal of an owner's request, which is ready now."""
        now_s, who = self._clock(), (owner, getattr(request, "session_id", None))
        pace = self._again if now_s < self._not_before_s.pop(who, now_s) else self._first
        delay_s = pace.delay_s(now_s)
        wait_s = max(LEAST_WAIT_S, error.retry_after_s or 0.0)
        self._not_before_s[who] = now_s + delay_s + wait_s
        if len(self._not_before_s) > REMEMBERED:
            self._not_before_s.popitem(last=False)
        return delay_s


class Pace:
    """A rate, above which refusals are held back after a burst."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, burst
        self._due_s = 0.0  # when the next one is due at this rate

    def delay_s(self, now_s: float) -> float:
        """Return how long to hold back one that is ready now."""
        due_s = max(self._due_s, now_s - self._burst / self._per_s)
        self._due_s = min(due_s + 1 / self._per_s, now_s + LONGEST_S)
        return TOGETHER_S * ceil(due_s / TOGETHER_S) - now_s if due_s > now_s else 0.0
