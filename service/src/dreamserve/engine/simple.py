"""The engine's simple twin: one request at a time, no queue, no batch, no thread.

The same sessions and the same dreams, so tests can hold the engine to it, bit for bit.
"""

import time
from collections.abc import Callable, Sequence

from dreamserve.engine.dreams import Dreams
from dreamserve.engine.scheduling.calibration import batch_sizes
from dreamserve.engine.types import Request, Result
from dreamserve.engine.work import Task, finish
from dreamserve.engine.world import World
from dreamserve.errors import WireError


class SimpleEngine:
    """Answers each request before it takes the next."""

    def __init__(
        self,
        worlds: Sequence[World],
        *,
        capacity: int = 10_000,
        session_ttl_s: float = 3600.0,
        slice_rows: int = 128,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._dreams = Dreams(
            worlds,
            capacity=capacity,
            session_ttl_s=session_ttl_s,
            slice_rows=slice_rows,
            sizes=batch_sizes(slice_rows),
            clock=clock,
        )

    def ask(self, request: Request) -> Result:
        """Answer a request, or raise its error."""
        outcome = self._dreams.answer([request])[0]
        if isinstance(outcome, Task):
            outcome = finish(outcome, self._clock)
        if isinstance(outcome, WireError):
            raise outcome
        return outcome
