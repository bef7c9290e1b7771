"""The engine's simple twin: one request at a time, without queue, batches or threads.

It gives the same results, so tests compare the engine with it, bit for bit.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from dreamserve.engine.dispatcher import respond
from dreamserve.engine.handlers.base import Contexts
from dreamserve.engine.limits import UNLIMITED
from dreamserve.engine.scheduling.calibration import batch_sizes
from dreamserve.engine.sessions.table import INSTANCE, MAX_KEPT_BYTES, SessionTable
from dreamserve.engine.work import Job, finish
from dreamserve.engine.world import World, worlds_by_name
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.markers import Request

R = TypeVar("R")


class Owned(NamedTuple):
    """A request and its owner."""

    request: Request[Any]
    owner: str = ""


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
        instance: str = INSTANCE,
    ) -> None:
        by_name, sizes = worlds_by_name(worlds), batch_sizes(slice_rows)
        table = SessionTable(
            by_name, capacity, session_ttl_s, sizes, MAX_KEPT_BYTES, clock, instance=instance
        )
        self._contexts = Contexts(
            by_name,
            table,
            UNLIMITED,
            clock,
            slice_rows=slice_rows,
            batch_rows=slice_rows,
        )

    def send(self, request: Request[R], owner: str = "") -> R:
        """Return the result of an owner's request, or raise its error."""
        self._contexts.table.refresh_now()
        outcome = respond(self._contexts, [Owned(request, owner)])[0]
        if isinstance(outcome, Job):
            outcome = finish(outcome, self._contexts[owner].clock)
        if isinstance(outcome, ProblemError):
            raise outcome
        result: R = outcome
        return result
