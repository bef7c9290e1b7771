"""The pace of refusals: a client that ignores Retry-After waits, so that the work goes on.

A refusal takes little time, but thousands a second would keep the interpreter from the engine's
thread. So the first refusals of a second are sent at once and the others are held back, to
REFUSALS_PER_S in all, each for at most LONGEST_S: a client with one request per connection then
sends few, and nothing but its connection is held meanwhile.
"""

from collections.abc import Callable

REFUSALS_PER_S = 200
BURST = 100  # refusals that are sent at once
LONGEST_S = 5.0


class Refusals:
    """Counts the refusals of one server, by its event loop's clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due_s = 0.0  # when the next refusal is due, at REFUSALS_PER_S

    def delay_s(self) -> float:
        """Return how long to hold back a refusal that is ready now."""
        now_s = self._clock()
        due_s = max(self._due_s, now_s - BURST / REFUSALS_PER_S)
        self._due_s = min(due_s + 1 / REFUSALS_PER_S, now_s + LONGEST_S)
        return max(0.0, due_s - now_s)
