"""Latency model: how many rows and iterations of a plan fit into a given time.

The duration of a world call is measured at start-up for each batch size; `plan_s` is the time that
each concurrent plan needs between two calls. The slowdown caused by steps and other work is
estimated from plan to plan.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np

from dreamserve.planning.options import Options

ENOUGH = 48  # with fewer candidates, one iteration less is better
FEWEST = 8  # with fewer candidates, a shorter evaluated horizon is better
_LEARNING_RATE = 0.2
_LEAST, _MOST = 0.5, 20.0  # of an observed slowdown
_MARGIN = 0.85  # share of the available time that is planned for


@dataclass(slots=True, eq=False)
class LatencyModel:
    """One world's latencies on this machine. Only the thread of the current turn may use it."""

    took_s: Mapping[int, float] = field(default_factory=lambda: {1: 110e-6, 256: 2.6e-3})  # by rows
    plan_s: float = 50e-6
    slowdown: float = field(default=1.2, init=False)  # actual duration / measured duration
    active: int = field(default=0, init=False)  # plans with a budget in progress: they share calls

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count as a plan in progress until the block ends."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    def rows(self, calls: int, within_s: float) -> int:
        """Return how many rows each of `calls` calls may have, at least 1."""
        active = max(1, self.active)
        call_s = _MARGIN * within_s / (calls * self.slowdown) - active * self.plan_s
        sizes, seconds = self._measured()
        if call_s > seconds[-1]:  # time for several calls of the largest size
            rows = sizes[-1] * call_s / seconds[-1]
        else:
            rows = float(np.interp(call_s, seconds, sizes))
        return max(1, int(rows / active))

    def lasts_s(self, calls: int, rows: int) -> float:
        """Return the expected duration of `calls` calls of `rows` rows for each plan."""
        return self.slowdown * self._undelayed_s([(calls, rows)], max(1, self.active))

    def learn(self, calls: Sequence[tuple[int, int]], active: int, took_s: float) -> None:
        """Update the slowdown with a plan's duration among `active` plans.

        `calls` holds (number of calls, rows).
        """
        if expected_s := self._undelayed_s(calls, active):
            observed = min(max(took_s / expected_s, _LEAST), _MOST)
            self.slowdown += _LEARNING_RATE * (observed - self.slowdown)

    def _undelayed_s(self, calls: Sequence[tuple[int, int]], active: int) -> float:
        sizes, seconds = self._measured()
        return sum(
            count * (float(np.interp(active * rows, sizes, seconds)) + active * self.plan_s)
            for count, rows in calls
        )

    def _measured(self) -> tuple[list[int], list[float]]:
        """Return batch sizes and their durations, both in rising order."""
        sizes = sorted(self.took_s)
        return sizes, list(accumulate((self.took_s[size] for size in sizes), max))


def fit_to_budget(
    options: Options, calls: int, particles: int, latency: LatencyModel, within_s: float
) -> tuple[Options, int]:
    """Return options with at most the iterations and candidates that fit into `within_s`.

    And the particles: `calls` is the number of world calls of one iteration. Iterations are reduced
    before candidates, and these before particles, of which one is left at least: few candidates
    known well are hardly a search.
    """
    requested: Any = options
    enough = min(requested.candidates, ENOUGH)
    fewest = min(requested.candidates, FEWEST)
    particles = max(1, min(particles, latency.rows(calls, within_s) // fewest))

    def candidates(iterations: int) -> int:
        return latency.rows(iterations * calls, within_s) // particles

    counts = range(1, requested.iterations + 1)
    iterations = max(1, bisect_right(counts, -enough, key=lambda count: -candidates(count)))
    fewer = {"candidates": min(requested.candidates, max(candidates(iterations), FEWEST))}
    if requested.iterations > 1:
        fewer["iterations"] = iterations
    fitting: Options = replace(requested, **fewer)
    return fitting, particles
