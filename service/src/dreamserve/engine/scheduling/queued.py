"""A request in the engine's queue, and how its future is settled."""

import concurrent.futures
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

from dreamserve.engine.scheduling.jobs import Ask
from dreamserve.engine.sessions.keys import SessionKey
from dreamserve.engine.sessions.ledger import Absence, Lease
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
class StoreNeeds:
    """What a request needs of a store (`durability.gate`)."""

    since_s: float  # when it was taken off the queue first, by time.monotonic
    awaited: int = 0  # sessions that are being looked up for it
    absent: dict[SessionKey, Absence] = field(default_factory=dict)  # that were not found
    leases: list[Lease] = field(default_factory=list)  # of its sessions, when it began
    runs: int = 0  # how often its outcome was refused


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """A request, the future of its outcome, and its job if it is long work."""

    request: Request[Any]
    future: Future
    key: SessionKey | None  # the session's key; None for batches and for requests without a session
    owner: str = ""  # of the request
    queued_at_s: float = 0.0  # by time.perf_counter
    ask: Ask | None = None  # of plans, samples and rollouts, which change no session
    until_s: float = inf  # by the engine's clock: when the caller gives up
    arrival: int = 0  # its number, by which the requests of a session keep their order
    job: Job | None = None
    # A reset in progress: the session's next requests must wait until it ends.
    holds_session: bool = False
    stalls: float = inf  # it is too late once the server has hung more often (`durability.stalls`)
    needs: StoreNeeds | None = None  # with a store, once it was taken off the queue


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
