"""Executes the work of a turn: a batch of waiting requests, and a slice of long work."""

import threading
from collections.abc import Callable, Sequence
from math import inf
from time import perf_counter
from typing import TypeAlias

from dreamserve.engine.durability.gate import Gate
from dreamserve.engine.handlers.base import Contexts
from dreamserve.engine.measures import Measures
from dreamserve.engine.scheduling.queued import QueuedRequest, Settled
from dreamserve.engine.scheduling.scheduler import Scheduler
from dreamserve.engine.scheduling.slices import run_slice
from dreamserve.engine.work import Job, Outcome, failure
from dreamserve_protocol.errors import OverloadedError, ProblemError
from dreamserve_protocol.reset import ResetRequest

RequestScheduler: TypeAlias = Scheduler[QueuedRequest, QueuedRequest]
Respond = Callable[[Contexts, Sequence[QueuedRequest]], list[Outcome]]  # `dispatcher.respond`
# Gets the requests of each batch, and when it began by time.perf_counter.
Observe = Callable[[Sequence[QueuedRequest], float], None]


class Executor:
    """Runs what the scheduler selected, and tells it what has ended. One thread at a time."""

    def __init__(
        self,
        respond: Respond,
        contexts: Contexts,
        scheduler: RequestScheduler,
        lock: threading.Condition,
        measures: Measures,
        gate: Gate | None,
    ) -> None:
        self._respond, self._contexts, self._scheduler = respond, contexts, scheduler
        self._lock = lock  # guards the scheduler
        self._measures = measures
        self._gate = gate  # None without a store
        self.observe: Observe | None = None

    def arrive(self) -> list[Settled]:
        """Queue the requests whose sessions have been looked up; return those that failed."""
        if self._gate is None:
            return []
        ready, failed = self._gate.lookups.arrive()
        with self._lock:
            for queued in ready:
                self._scheduler.resume(queued)
            for queued, _ in failed:
                self._scheduler.release(queued)
        return failed

    def run_batch(self, requests: list[QueuedRequest]) -> list[Settled]:
        """Return the outcomes of the completed requests; the others wait or have become jobs."""
        began_s = perf_counter()
        self._contexts.table.refresh_now()
        batch = [queued for queued in requests if not queued.future.cancelled()]
        if len(batch) < len(requests):
            self._measures.cancelled += len(requests) - len(batch)
        if self._gate is not None:
            cancelled = set(requests) - set(batch)
            batch = self._gate.lookups.ready(batch)
            requests = [*batch, *cancelled]
        if self.observe is not None:
            self.observe(batch, began_s)
        try:
            outcomes = self._respond(self._contexts, batch)
        except Exception as error:
            outcomes = [failure(error)] * len(batch)
        settled: list[Settled] = []
        with self._lock:
            for queued, outcome in zip(batch, outcomes, strict=True):
                if not isinstance(outcome, Job):
                    settled.append((queued, outcome))
                elif (refused := self._begin(queued, outcome)) is not None:
                    settled.append((queued, refused))
            for queued in requests:
                if not queued.holds_session:
                    self._scheduler.release(queued)
        ended_s = perf_counter()
        if self._gate is not None:
            settled = self._gate.hold(settled)
        self._measures.batch(began_s, ended_s, batch, settled)
        return settled

    def _begin(self, queued: QueuedRequest, job: Job) -> ProblemError | None:
        """Schedule a job for slices; return the error if there are too many."""
        queued.job = job
        try:
            self._check_quota(queued.owner)
            self._scheduler.begin(queued)
        except OverloadedError as error:
            job.close()
            return error
        queued.holds_session = isinstance(queued.request, ResetRequest)
        return None

    def _check_quota(self, owner: str) -> None:
        """Raise OverloadedError if the owner has as many jobs as its quota allows."""
        most = self._contexts.table.quota(owner).jobs
        if most < inf and sum(job.owner == owner for job in self._scheduler.jobs) >= most:
            raise OverloadedError(
                f"{most} plans, samples and rollouts of your quota are in progress; try again later"
            )

    def run_slice(self, requests: list[QueuedRequest]) -> list[Settled]:
        """Run one slice of these requests' jobs; return the outcomes of the jobs that ended."""
        began_s = perf_counter()
        by_job = {queued.job: queued for queued in requests if queued.job is not None}
        cancelled = [job for job, queued in by_job.items() if queued.future.cancelled()]
        self._measures.cancelled += len(cancelled)
        for job in cancelled:
            job.close()
        jobs = [job for job in by_job if job not in cancelled] if cancelled else list(by_job)
        if self._gate is not None:
            self._gate.lookups.resume(by_job[job] for job in jobs)
        common = self._contexts[""]
        slices = run_slice(jobs, common.slice_rows, common.clock())
        ended = {job: outcome for job, outcome in slices if not isinstance(outcome, Job)}
        with self._lock:
            for job, outcome in slices:
                if isinstance(outcome, Job):
                    self._scheduler.requeue(by_job[job])
            for job in (*cancelled, *ended):
                queued = by_job[job]
                self._scheduler.end(queued)
                if queued.holds_session:
                    self._scheduler.release(queued)
        settled = [(by_job[job], outcome) for job, outcome in ended.items()]
        ended_s = perf_counter()
        if self._gate is not None:
            settled = self._gate.hold(settled)
        self._measures.slice(began_s, ended_s, settled)
        return settled
