"""A request in the engine's queue, and how its future is settled."""

import asyncio
import concurrent.futures
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dreamserve.engine.work import Job, Result
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.markers import Request

# asyncio's futures must be settled in their event loop, which their driver does.
Future = concurrent.futures.Future[Result] | asyncio.Future[Result]


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """A request, the future of its outcome, and its job if it is long work."""

    request: Request[Any]
    future: Future
    key: str | None  # the session's id; None for batches and for requests without a session
    job: Job | None = None
    # A reset in progress: the session's next requests must wait until it ends.
    holds_session: bool = False


Settled = tuple[QueuedRequest, Result | ProblemError]


def settle(outcomes: Iterable[Settled]) -> None:
    """Set the result or the exception of each request's future, unless it was cancelled."""
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
            pass  # cancelled since `done` was read
