"""The engine's simple twin: one request at a time, without queue, batches or threads.

It gives the same results, so tests compare the engine with it, bit for bit.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from dreamserve.engine.dispatcher import respond
from dreamserve.engine.handlers.base import Context
from dreamserve.engine.limits import UNLIMITED
from dreamserve.engine.scheduling.calibration import batch_sizes
from dreamserve.engine.sessions.table import MAX_KEPT_STEPS, Sessions
from dreamserve.engine.work import Job, finish
from dreamserve.engine.world import World, worlds_by_name
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.markers import Request

R = TypeVar("R")


class SimpleEngine:
    """Completes each request before the next one."""

    def __init__(
        self,
        worlds: Sequence[World],
        *,
        capacity: int = 10_000,
        session_ttl_s: float = 3600.0,
        slice_rows: int = 128,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        by_name, sizes = worlds_by_name(worlds), batch_sizes(slice_rows)
        self._context = Context(
            by_name,
            Sessions(by_name, capacity, session_ttl_s, sizes, MAX_KEPT_STEPS, clock),
            UNLIMITED,
            clock,
            slice_rows=slice_rows,
            batch_rows=slice_rows,
        )

    def send(self, request: Request[R]) -> R:
        """Return a request's result, or raise its error."""
        self._context.sessions.refresh_now()
        outcome = respond(self._context, [request])[0]
        if isinstance(outcome, Job):
            outcome = finish(outcome, self._context.clock)
        if isinstance(outcome, ProblemError):
            raise outcome
        result: R = outcome
        return result
