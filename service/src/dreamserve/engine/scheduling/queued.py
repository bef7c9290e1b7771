"""A request on its way through the engine, and how its future ends."""

import asyncio
import concurrent.futures
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dreamserve.engine.work import Job, Result
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.markers import Request

# asyncio's futures belong to their event loop: its driver sees to it that they end there.
Future = concurrent.futures.Future[Result] | asyncio.Future[Result]


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """A request, the future that its outcome ends, and its job once it has become long work."""

    request: Request[Any]
    future: Future
    key: str | None  # the session that it is about; None for batches, and where there is none
    job: Job | None = None
    # a reset in progress: what comes behind it must wait for its end
    holds_session: bool = False


Settled = tuple[QueuedRequest, Result | ProblemError]


def settle(outcomes: Iterable[Settled]) -> None:
    """End each request's future with its outcome, unless its caller has gone away."""
    for queued, outcome in outcomes:
        future = queued.future
        if future.done():
            continue
        try:
            if isinstance(outcome, ProblemError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        except concurrent.futures.InvalidStateError:
            pass  # cancelled this very moment
