"""A request on its way, and how it gets its one answer."""

import asyncio
import concurrent.futures
from collections.abc import Iterable
from dataclasses import dataclass

from dreamserve.engine.types import Request, Result
from dreamserve.engine.work import Task
from dreamserve.errors import WireError

# asyncio's futures belong to their event loop: whoever delivers sees to it that they end there.
Future = concurrent.futures.Future[Result] | asyncio.Future[Result]


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """A request and the future that its answer ends."""

    request: Request
    future: Future
    key: str | None  # the session that it is about; None for batches, and where there is none
    # a reset in progress: what comes behind it must wait for its end
    holds_session: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """Work of some length, done in slices."""

    ticket: QueuedRequest
    task: Task


Answered = tuple[QueuedRequest, Result | WireError]


def settle(answered: Iterable[Answered]) -> None:
    """Give each request its one answer, unless its caller has gone away."""
    for ticket, outcome in answered:
        future = ticket.future
        if future.done():
            continue
        try:
            if isinstance(outcome, WireError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        except concurrent.futures.InvalidStateError:
            pass  # cancelled this very moment
