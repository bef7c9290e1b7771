"""The engine: requests in from any thread, turns that dream, each request one answer out.

While a batch computes, requests gather for the next one: batches form from load, without a timer.
"""

import concurrent.futures
import threading
import time
from collections.abc import Callable, Sequence

from dreamserve.engine.dreams import Dreams
from dreamserve.engine.scheduling.calibration import UNMEASURED_SLICE_ROWS, batch_sizes, measure
from dreamserve.engine.scheduling.queued import Answered, Future, Job, QueuedRequest, settle
from dreamserve.engine.scheduling.scheduler import Scheduler
from dreamserve.engine.scheduling.slices import run_slice
from dreamserve.engine.sessions.slab import slab_bytes
from dreamserve.engine.sessions.table import MAX_KEPT_STEPS
from dreamserve.engine.types import Request, ResetRequest, Result
from dreamserve.engine.work import Task, failure
from dreamserve.engine.world import World
from dreamserve.errors import DrainingError, OverloadedError

Deliver = Callable[[list[Answered]], None]


class Engine:
    """Dream sessions on `worlds`, advanced together.

    Either `start()` it, and it has a thread of its own until `stop()`; or call `turn()` from one
    thread of yours. An event loop may do both: short turns itself, the long ones the thread.

    At most `capacity` sessions live at once, and keep `max_kept_steps` to go back to, all together;
    an idle one ends after `session_ttl_s`. At most `max_queue` requests wait, at most `max_jobs`
    plans, samples, batches and burn-ins are in progress. A step batch has at most `max_batch` rows;
    a slice of a plan has `slice_rows`, by default as many as fit into `slice_ms` here. No step
    waits for more than one of them.
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
        max_kept_steps: int = MAX_KEPT_STEPS,
        slice_ms: float = 1.5,
        slice_rows: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sizes = batch_sizes(max_batch)
        self._slice_ms, self._slice_rows = slice_ms, slice_rows
        self._inline_rows, self._clock = 0, clock
        self._dreams = Dreams(
            worlds,
            capacity=capacity,
            session_ttl_s=session_ttl_s,
            slice_rows=slice_rows or UNMEASURED_SLICE_ROWS,
            sizes=self._sizes,
            max_kept_steps=max_kept_steps,
            clock=clock,
        )
        self._scheduler: Scheduler[QueuedRequest, Job] = Scheduler(
            max_queue=max_queue, max_batch=max_batch, max_jobs=max_jobs
        )
        self._wake = threading.Condition(threading.Lock())  # guards the scheduler
        self._turning = threading.Lock()  # one turn at a time: who holds it owns all state
        self._thread: threading.Thread | None = None
        self._stop_at_s: float | None = None  # by time.monotonic; None: not stopping
        self.deliver: Deliver = settle

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

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is in progress."""
        return not self._scheduler.has_work()

    @property
    def is_short(self) -> bool:
        """Whether the next turn is over sooner than another thread could be asked to take it."""
        return self._scheduler.waiting <= self._inline_rows and not self._scheduler.has_jobs()

    def submit(self, request: Request) -> "concurrent.futures.Future[Result]":
        """Queue a request, from any thread; the future ends with its one answer.

        Cancelling the future takes a waiting request back; what has begun to compute is answered
        to nobody. Raises OverloadedError when too many wait, DrainingError once stopping.
        """
        future: concurrent.futures.Future[Result] = concurrent.futures.Future()
        self.queue(request, future)
        self.wake()
        return future

    def queue(self, request: Request, future: Future) -> None:
        """Queue a request whose answer ends `future`, and leave it to the caller who takes the
        turn. Raises as `submit`.
        """
        with self._wake:
            if self._stop_at_s is not None:
                raise DrainingError("the server is shutting down")
            self._scheduler.add(QueuedRequest(request, future, request.session_id))

    def wake(self) -> None:
        """Let the engine's thread take the turns until nothing is left to do."""
        with self._wake:
            self._wake.notify()

    def turn(self, blocking: bool = True) -> None:
        """Run one batch of what waits, then one slice of long work; deliver the answers.

        Turns never overlap: while another thread takes one this waits for it, or, not `blocking`,
        leaves the work to it.
        """
        if not self._turning.acquire(blocking):
            return
        try:
            with self._wake:
                tickets, jobs = self._scheduler.next()
            if tickets:
                self.deliver(self._run_batch(tickets))
            if jobs:
                self.deliver(self._run_slice(jobs))
        finally:
            self._turning.release()

    def start(self) -> None:
        """Warm every graph at every batch size, then run in a thread of the engine's own."""
        self.warm()
        self._thread = threading.Thread(target=self._run, name="dreamserve-engine", daemon=True)
        self._thread.start()

    def warm(self) -> None:
        """Run every graph at every batch size it will meet, so that no request pays for that."""
        pace = measure(self.worlds.values(), self._sizes, self._slice_ms)
        self._dreams.slice_rows = self._slice_rows or pace.slice_rows
        self._inline_rows = pace.inline_rows
        self._dreams.latencies.update(pace.latencies)

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
            with self._wake:
                self._wake.wait_for(self._awake)
            self.turn()
        with self._wake:
            tickets, jobs = self._scheduler.empty()
        refused = DrainingError("the server is shutting down; this was not finished")
        self.deliver([(ticket, refused) for ticket in (*tickets, *(job.ticket for job in jobs))])

    def _awake(self) -> bool:
        return self._scheduler.has_work() or self._stop_at_s is not None

    def _finished(self) -> bool:
        with self._wake:
            if self._stop_at_s is None:
                return False
            return not self._scheduler.has_work() or time.monotonic() > self._stop_at_s

    def _run_batch(self, taken: list[QueuedRequest]) -> list[Answered]:
        """Return the answers of those that are done; the others have become long work."""
        batch = [ticket for ticket in taken if not ticket.future.cancelled()]
        try:
            outcomes = self._dreams.answer([ticket.request for ticket in batch])
        except Exception as error:
            outcomes = [failure(error)] * len(batch)
        answered: list[Answered] = []
        with self._wake:
            for ticket, outcome in zip(batch, outcomes, strict=True):
                ended = self._begin(ticket, outcome) if isinstance(outcome, Task) else outcome
                if ended is not None:
                    answered.append((ticket, ended))
            for ticket in taken:
                if not ticket.holds_session:
                    self._scheduler.release(ticket)
        return answered

    def _begin(self, ticket: QueuedRequest, task: Task) -> OverloadedError | None:
        """Let long work have its slices, or return why not."""
        try:
            self._scheduler.begin(Job(ticket, task))
        except OverloadedError as error:
            task.close()
            return error
        ticket.holds_session = isinstance(ticket.request, ResetRequest)
        return None

    def _run_slice(self, jobs: list[Job]) -> list[Answered]:
        """Return the answers of those for whom this was the last slice."""
        left = [job for job in jobs if job.ticket.future.cancelled()]
        for job in left:
            job.task.close()
        there = [job for job in jobs if job not in left] if left else jobs
        slices = run_slice(there, self._dreams.slice_rows, self._clock())
        ended = {job: outcome for job, outcome in slices if not isinstance(outcome, Task)}
        with self._wake:
            for job, outcome in slices:
                if isinstance(outcome, Task):
                    self._scheduler.requeue(job)
            for job in (*left, *ended):
                self._scheduler.end(job)
                if job.ticket.holds_session:
                    self._scheduler.release(job.ticket)
        return [(job.ticket, outcome) for job, outcome in ended.items()]
