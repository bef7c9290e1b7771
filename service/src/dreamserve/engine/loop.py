"""The engine: requests in from any thread, one thread that dreams, each request one answer out.

While a batch computes, requests gather for the next one: batches form from load, without a timer.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from dreamserve.engine.dreams import Dreams
from dreamserve.engine.scheduler import Scheduler
from dreamserve.engine.sessions import slab_bytes
from dreamserve.engine.types import Request, ResetRequest, Result
from dreamserve.engine.work import Outcome, Work, failure, resume
from dreamserve.engine.world import World
from dreamserve.errors import DrainingError, DreamserveError, OverloadedError


@dataclass(slots=True, eq=False)
class Ticket:
    """A request on its way."""

    request: Request
    future: "Future[Result]" = field(default_factory=Future)
    # a reset in progress: what comes behind it must wait for its end
    holds_session: bool = False

    @property
    def key(self) -> str | None:
        """The session that it is about."""
        return self.request.session_id


@dataclass(slots=True, eq=False)
class Job:
    """Work of some length, done in slices."""

    ticket: Ticket
    work: Work


class Engine:
    """Dream sessions on `worlds`, advanced together.

    Either `start()` it, and it has a thread of its own until `stop()`; or call `turn()` from one
    thread of yours. At most `capacity` sessions live at once; an idle one ends after
    `session_ttl_s`. At most `max_queue` requests wait, at most `max_jobs` plans, samples and
    burn-ins are in progress. A step batch has at most `max_batch` rows, a slice of long work
    `slice_rows`: no step waits for more than one of them.
    """

    def __init__(
        self,
        worlds: Sequence[World],
        *,
        capacity: int = 10_000,
        session_ttl_s: float = 3600.0,
        max_queue: int = 4096,
        max_batch: int = 256,
        max_jobs: int = 64,
        slice_rows: int = 128,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dreams = Dreams(
            worlds,
            capacity=capacity,
            session_ttl_s=session_ttl_s,
            slice_rows=slice_rows,
            clock=clock,
        )
        self._scheduler: Scheduler[Ticket, Job] = Scheduler(
            max_queue=max_queue, max_batch=max_batch, max_jobs=max_jobs
        )
        self._sizes = batch_sizes(max_batch)
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stop_at_s: float | None = None  # by time.monotonic; None: not stopping

    @property
    def worlds(self) -> dict[str, World]:
        """The worlds by name, in the order given."""
        return self._dreams.worlds

    @property
    def session_count(self) -> int:
        """How many sessions live now."""
        return len(self._dreams.sessions)

    @property
    def capacity(self) -> int:
        """How many sessions may live at once."""
        return self._dreams.sessions.capacity

    @property
    def memory_bytes(self) -> int:
        """What the state of `capacity` sessions takes on the world that takes most."""
        return self.capacity * max(slab_bytes(world.spec) for world in self.worlds.values())

    @property
    def ready(self) -> bool:
        """Whether the engine's thread is up, every graph warm, and requests are taken."""
        running = self._thread is not None and self._thread.is_alive()
        return running and self._stop_at_s is None

    def submit(self, request: Request) -> "Future[Result]":
        """Queue a request, from any thread; the future ends with its one answer.

        Cancelling the future takes a waiting request back; what has begun to compute is answered
        to nobody. Raises OverloadedError when too many wait, DrainingError once stopping.
        """
        ticket = Ticket(request)
        with self._wake:
            if self._stop_at_s is not None:
                raise DrainingError("the server is shutting down")
            self._scheduler.add(ticket)
            self._wake.notify()
        return ticket.future

    def turn(self, timeout_s: float | None = 0.0) -> None:
        """Wait for work, at most `timeout_s` (None: until there is some); run one batch, then one
        slice of long work; deliver the answers.
        """
        with self._wake:
            self._wake.wait_for(self._awake, timeout_s)
            taken, job = self._scheduler.next()
        batch = [ticket for ticket in taken if not ticket.future.cancelled()]
        for ticket, outcome in zip(batch, self._run_batch(batch), strict=True):
            self._deliver(ticket, outcome)
        self._release(taken)
        if job is not None:
            self._run_slice(job)

    def start(self) -> None:
        """Warm every graph at every batch size, then run in a thread of the engine's own."""
        self.warm()
        self._thread = threading.Thread(target=self._run, name="dreamserve-engine", daemon=True)
        self._thread.start()

    def warm(self) -> None:
        """Run every graph at every batch size it will meet, so that no request pays for that."""
        for world in self.worlds.values():
            world.warm(self._sizes)

    def stop(self, deadline_s: float = 10.0) -> None:
        """Take nothing new, finish what waits within `deadline_s`, refuse the rest, end the thread.

        Every future ends: what was not finished with DrainingError.
        """
        with self._wake:
            self._stop_at_s = time.monotonic() + deadline_s
            self._wake.notify_all()
        if self._thread is None:
            self._run()
        else:
            self._thread.join(deadline_s + 5.0)

    def _run(self) -> None:
        while not self._finished():
            self.turn(timeout_s=None)
        with self._wake:
            tickets, jobs = self._scheduler.empty()
        for ticket in [*tickets, *(job.ticket for job in jobs)]:
            _settle(ticket, DrainingError("the server is shutting down; this was not finished"))

    def _awake(self) -> bool:
        return self._scheduler.has_work() or self._stop_at_s is not None

    def _finished(self) -> bool:
        with self._wake:
            if self._stop_at_s is None:
                return False
            return not self._scheduler.has_work() or time.monotonic() > self._stop_at_s

    def _run_batch(self, batch: list[Ticket]) -> list[Outcome]:
        try:
            return self._dreams.answer([ticket.request for ticket in batch], self._padded)
        except Exception as error:
            return [failure(error)] * len(batch)

    def _padded(self, rows: int) -> int:
        return self._sizes[bisect_left(self._sizes, rows)]

    def _deliver(self, ticket: Ticket, outcome: Outcome) -> None:
        if isinstance(outcome, Generator):
            try:
                with self._wake:
                    self._scheduler.begin(Job(ticket, outcome))
            except OverloadedError as error:
                outcome.close()
                outcome = error
            else:
                ticket.holds_session = isinstance(ticket.request, ResetRequest)
                return
        _settle(ticket, outcome)

    def _run_slice(self, job: Job) -> None:
        if job.ticket.future.cancelled():
            job.work.close()
        else:
            outcome = resume(job.work)
            if isinstance(outcome, Generator):
                return
            _settle(job.ticket, outcome)
        with self._wake:
            self._scheduler.end(job)
            if job.ticket.holds_session:
                self._scheduler.release(job.ticket)

    def _release(self, tickets: list[Ticket]) -> None:
        """Let the next requests of these sessions run."""
        with self._wake:
            for ticket in tickets:
                if not ticket.holds_session:
                    self._scheduler.release(ticket)


def batch_sizes(largest: int) -> tuple[int, ...]:
    """Return the sizes that batches are filled up to: 1, 2, 3, 4, 6, 8, 12, 16, … `largest`.

    Powers of two and the middles between: a CPU pays for every row, so at most a third is wasted.
    """
    powers = [2**i for i in range(largest.bit_length())]
    sizes = {size for power in powers for size in (power, power + power // 2)}
    return (*sorted(size for size in sizes if size < largest), largest)


def _settle(ticket: Ticket, outcome: Result | DreamserveError) -> None:
    """Give the request its one answer, unless its caller has gone away."""
    if not ticket.future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, DreamserveError):
        ticket.future.set_exception(outcome)
    else:
        ticket.future.set_result(outcome)
