"""What the engine measures of the requests that it completes; its turns write, any thread reads.

Requests that no turn runs are counted by who runs them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from dreamserve.engine.histogram import FOLD, SECONDS, Float64, Histogram, Pending
from dreamserve.engine.scheduling.queued import QueuedRequest, Settled
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.step import StepRequest, StepResult
from dreamserve_protocol.verbs import BY_REQUEST, VERBS

_STEPS = {StepResult}
_CODE = attrgetter("code")


class Measures:
    """Counts and times, in seconds. Errors are counted where they become responses."""

    def __init__(self) -> None:
        self.slice_s = Histogram(SECONDS)  # of turns with long work
        self.cancelled = 0  # requests
        self.missed_deadlines = 0  # plans whose result came after their budget
        self.row_errors: Counter[tuple[str, str]] = Counter()  # by verb and code
        self._batch_s, self._queue_s = Histogram(SECONDS), Histogram(SECONDS)
        self._latency_s = {verb.request: Histogram(SECONDS) for verb in VERBS}
        # Batches not sorted yet: their begin and end, the times at which their requests were
        # queued, and whether all of them were steps that were taken.
        self._batches = Pending[tuple[float, float, list[float], bool]]()
        # Batches of a single step: begin, end, and when it was queued. Tuples of nothing but floats
        # cost least, also of the garbage collector's time.
        self._single_steps = Pending[tuple[float, float, float]]()
        self._unsorted = 0  # requests in them

    @property
    def batch_s(self) -> Histogram:
        """Durations of batches."""
        self._sort()
        return self._batch_s

    @property
    def queue_s(self) -> Histogram:
        """Times of requests in the queue, until their batch began."""
        self._sort()
        return self._queue_s

    @property
    def latency_s(self) -> dict[type, Histogram]:
        """Times by kind of request, from the queue to the result; not of errors."""
        self._sort()
        return self._latency_s

    def batch(
        self,
        began_s: float,
        ended_s: float,
        requests: Sequence[QueuedRequest],
        settled: Sequence[Settled],
    ) -> None:
        """Count a batch: its requests, and those that it completed."""
        if len(requests) == len(settled) == 1 and type(settled[0][1]) is StepResult:
            self._single_steps.append((began_s, ended_s, requests[0].queued_at_s))
        else:
            kinds = {type(one) for _, one in settled}
            are_steps = len(settled) == len(requests) and kinds == _STEPS
            queued_at_s = [queued.queued_at_s for queued in requests]
            self._batches.append((began_s, ended_s, queued_at_s, are_steps))
            if not are_steps:
                self.completed(ended_s, settled)
        self._unsorted += len(requests)
        if self._unsorted >= FOLD:
            self._unsorted = 0
            self._sort()

    def slice(self, began_s: float, ended_s: float, settled: Sequence[Settled]) -> None:
        """Count a slice of long work, and the requests that it completed."""
        self.slice_s.add(ended_s - began_s)
        self.completed(ended_s, settled)

    def completed(self, ended_s: float, settled: Iterable[Settled]) -> None:
        """Count requests that were completed at `ended_s`."""
        for queued, outcome in settled:
            if isinstance(outcome, ProblemError):
                continue
            request, took_s = queued.request, ended_s - queued.queued_at_s
            self.completed_one(type(request), took_s)
            for code, count in Counter(map(_CODE, getattr(outcome, "errors", ()))).items():
                self.row_errors[BY_REQUEST[type(request)].name, code] += count
            if isinstance(request, PlanRequest) and request.budget_ms is not None:
                self.missed_deadlines += took_s > 1e-3 * request.budget_ms

    def completed_one(self, kind: type[Request[Any]], took_s: float) -> None:
        """Count a request of that kind that was completed; one thread at a time for each kind."""
        self._latency_s[kind].add(took_s)

    def _sort(self) -> None:
        """Sort the batches' times into the histograms."""
        singles = np.array(self._single_steps.take(), np.float64).reshape(-1, 3)
        self._batch_s.add_all(singles[:, 1] - singles[:, 0])
        self._queue_s.add_all(singles[:, 0] - singles[:, 2])
        self._latency_s[StepRequest].add_all(singles[:, 1] - singles[:, 2])
        batches = self._batches.take()
        if not batches:
            return
        began_s, ended_s, queued_at_s, are_steps = zip(*batches, strict=True)
        sizes = [len(times) for times in queued_at_s]
        began, ended = np.array(began_s), np.array(ended_s)
        queued = np.fromiter(chain.from_iterable(queued_at_s), np.float64, sum(sizes))  # (N,)
        self._batch_s.add_all(ended - began)
        self._queue_s.add_all(np.repeat(began, sizes) - queued)
        latency: Float64 = np.repeat(ended, sizes) - queued
        self._latency_s[StepRequest].add_all(latency[np.repeat(are_steps, sizes)])
