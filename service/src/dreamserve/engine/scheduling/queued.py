"""A request in the engine's queue, and how its future is settled."""

import concurrent.futures
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from dreamserve.engine.scheduling.jobs import Ask
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
    """A request, the future of its outcome, and its job if it is long work."""

    request: Request[Any]
    future: Future
    key: str | None  # the session's id; None for batches and for requests without a session
    ask: Ask | None = None  # of plans, samples and rollouts, which change no session
    until_s: float = inf  # by the engine's clock: when the caller gives up
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
