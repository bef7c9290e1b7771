"""A request on its way through the engine, and how its future ends."""

import concurrent.futures
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from dreamserve.engine.work import Job, Result
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.markers import Request


class Future(Protocol):
    """Receives the outcome of a request, once: a future of asyncio or concurrent.futures, or alike.

    The driver calls it in the thread that it belongs to.
    """

    def cancelled(self) -> bool:
        """Return whether the caller no longer waits."""
        ...

    def done(self) -> bool:
        """Return whether there is an outcome, or the caller no longer waits."""
        ...

    def set_result(self, result: Any, /) -> None:
        """Take the result."""
        ...

    def set_exception(self, exception: Any, /) -> None:
        """Take the error instead."""
        ...


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
