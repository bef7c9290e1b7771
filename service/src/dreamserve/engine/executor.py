"""Executes the work of a turn: a batch of waiting requests, and a slice of long work."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from time import perf_counter
from typing import Any

from dreamserve.engine.durability.gate import Gate
from dreamserve.engine.durability.stalls import has_hung
from dreamserve.engine.handlers.base import Contexts
from dreamserve.engine.measures import Measures
from dreamserve.engine.queue import RequestQueue
from dreamserve.engine.scheduling.jobs import Ask
from dreamserve.engine.scheduling.queued import QueuedRequest, Settled
from dreamserve.engine.scheduling.slices import run_slice
from dreamserve.engine.work import Job, Outcome, failure
from dreamserve_protocol.errors import (
    DeadlinePassedError,
    EngineFailedError,
    OverloadedError,
    ProblemError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest

Respond = Callable[[Contexts, Sequence[QueuedRequest]], list[Outcome]]  # `dispatcher.respond`
# Gets the requests of each batch, and when it began by time.perf_counter.
Observe = Callable[[Sequence[QueuedRequest], float], None]
# Raises OverloadedError if there is no room for the result of a request.
CheckRoom = Callable[[Request[Any]], None]

_AT_ONCE = Ask()  # of batches and resets
_CHECK_EVERY = 50  # slices, after which all jobs are checked for callers that are gone


class Executor:
    """Runs what the scheduler selected, and tells it what has ended. One thread at a time."""

    def __init__(
        self,
        respond: Respond,
        contexts: Contexts,
        queue: RequestQueue,
        measures: Measures,
        gate: Gate | None,
    ) -> None:
        self._respond, self._contexts = respond, contexts
        self._scheduler, self._lock, self._stalls = queue.scheduler, queue.lock, queue.stalls
        self._measures = measures
        self._gate = gate  # None without a store
        self.observe: Observe | None = None
        self.check_room: CheckRoom = lambda request: None
        # An interrupt of the last batch or slice, such as KeyboardInterrupt: no request's error.
        self.interrupt: BaseException | None = None
        self._slices = 0
        self._served_at_s = 0.0  # when the last slice ended, or the first job of several began

    def arrive(self) -> list[Settled]:
        """Queue the requests whose sessions have been looked up; return those that failed."""
        if self._gate is None:
            return []
        ready, failed = self._gate.lookups.arrive()
        with self._lock:
            for queued in ready:
                self._scheduler.resume(queued)
            for queued, _ in failed:
                self._scheduler.drop(queued)
        return failed

    def run_batch(self, requests: list[QueuedRequest]) -> list[Settled]:
        """Return the outcomes of the completed requests; the others wait or have become jobs."""
        began_s = perf_counter()
        self._contexts.table.refresh_now()
        now_s = self._contexts.table.now_s
        batch, late = self._wanted(requests, now_s)
        parked: set[QueuedRequest] = set()
        if self._gate is not None:
            parked = set(batch)
            batch = self._gate.lookups.ready(batch)
            parked.difference_update(batch)
        if self.observe is not None:
            self.observe(batch, began_s)
        try:
            outcomes = self._respond(self._contexts, batch)
        except BaseException as error:  # whatever it is, other requests wait behind these
            outcomes = [self._failed(error)] * len(batch)
        settled: list[Settled] = []
        with self._lock:
            for queued in parked:
                self._scheduler.park(queued)
            for queued, outcome in zip(batch, outcomes, strict=True):
                if not isinstance(outcome, Job):
                    settled.append((queued, outcome))
                elif (refused := self._begin(queued, outcome, now_s)) is not None:
                    settled.append((queued, refused))
            for queued in requests:
                if not queued.holds_session and queued not in parked:
                    self._scheduler.release(queued)
        ended_s = perf_counter()
        settled = self._hold(settled, batch)
        self._measures.batch(began_s, ended_s, batch, settled)
        return [*settled, *late] if late else settled

    def _wanted(
        self, requests: list[QueuedRequest], now_s: float
    ) -> tuple[list[QueuedRequest], list[Settled]]:
        """Return the requests that callers wait for, and the errors of those that are too late."""
        batch = [queued for queued in requests if not queued.future.cancelled()]
        if len(batch) < len(requests):
            self._measures.cancelled += len(requests) - len(batch)
        late: list[Settled] = [(one, deadline_passed()) for one in batch if one.until_s <= now_s]
        if self._stalls is not None:
            stalls = self._stalls.count
            late += [(one, has_hung()) for one in batch if one.stalls < stalls]
        if late:
            refused = {queued for queued, _ in late}
            batch = [queued for queued in batch if queued not in refused]
        return batch, late

    def _begin(self, queued: QueuedRequest, job: Job, now_s: float) -> ProblemError | None:
        """Schedule a job for slices; return the error if there are too many."""
        queued.job = job
        ask = replace(queued.ask or _AT_ONCE, steps=job.size.steps)
        if not self._scheduler.jobs:
            self._served_at_s = now_s
        try:
            self._check_quota(queued.owner)
            self.check_room(queued.request)
            self._scheduler.jobs.begin(queued, ask, job.size.memory_bytes, now_s)
        except OverloadedError as error:
            job.close()
            return error
        queued.holds_session = isinstance(queued.request, ResetRequest)
        return None

    def _check_quota(self, owner: str) -> None:
        """Raise OverloadedError if the owner has as many jobs as its quota allows."""
        most = self._contexts.table.quota(owner).jobs
        if most < inf and sum(job.owner == owner for job in self._scheduler.jobs.all()) >= most:
            raise OverloadedError(
                f"{most} plans, samples and rollouts of your quota are in progress; try again later"
            )

    def run_slice(self, requests: list[QueuedRequest]) -> list[Settled]:
        """Run one slice of these requests' jobs; return the outcomes of the jobs that ended."""
        began_s, common = perf_counter(), self._contexts[""]
        now_s = common.clock()
        dropped = self._dropped(requests, now_s)
        by_job = {queued.job: queued for queued in requests if queued.job is not None}
        jobs = [job for job, queued in by_job.items() if queued not in dropped]
        if self._gate is not None:
            self._gate.lookups.resume(by_job[job] for job in jobs)
        try:
            ran = run_slice(jobs, common.slice_rows, now_s)
        except BaseException as error:  # how far each of them came is not known
            ran = [(job, self._failed(error)) for job in jobs]
            for job in jobs:
                job.close()
        ended = [(by_job[job], outcome) for job, outcome in ran if not isinstance(outcome, Job)]
        served_at_s = common.clock()
        with self._lock:
            jobs_in_progress = self._scheduler.jobs
            served = [by_job[job] for job, _ in ran]
            jobs_in_progress.serve(served, served_at_s - self._served_at_s)
            for queued, outcome in (*ended, *dropped.items()):
                jobs_in_progress.end(queued, not isinstance(outcome, ProblemError))
                if queued.holds_session:
                    queued.holds_session = False
                    self._scheduler.release(queued)
        self._served_at_s = served_at_s
        ended_s = perf_counter()
        ended = self._hold(ended, served)
        self._measures.slice(began_s, ended_s, ended)
        return [*ended, *dropped.items()]

    def _failed(self, error: BaseException) -> ProblemError:
        """Return the error of requests that were computed together; note an interrupt."""
        if isinstance(error, Exception):
            return failure(error)
        self.interrupt = error
        return EngineFailedError(f"the engine was interrupted: {type(error).__name__}")

    def raise_interrupt(self) -> None:
        """Raise what interrupted the last batch or slice, if something did; once."""
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            raise interrupt

    def _hold(self, settled: list[Settled], ran: Sequence[QueuedRequest]) -> list[Settled]:
        """Return the outcomes that need not wait for the store; all of them without one."""
        if self._gate is None:
            return settled
        try:
            return self._gate.hold(settled, ran)
        except Exception as error:  # of a session whose change cannot be recorded
            failed = failure(error)
            return [(queued, failed) for queued, _ in settled]

    def _dropped(
        self, requests: list[QueuedRequest], now_s: float
    ) -> dict[QueuedRequest, ProblemError]:
        """Close the jobs that nobody waits for any more, or for whose result there is no room.

        Return each one's error.
        """
        self._slices += 1
        known = requests
        if not self._slices % _CHECK_EVERY:  # also those that do not run yet
            with self._lock:
                known = self._scheduler.jobs.all()
        dropped: dict[QueuedRequest, ProblemError] = {}
        for queued in known:
            error = self._unwanted(queued, now_s)
            if error is not None and queued.job is not None:
                queued.job.close()
                dropped[queued] = error
        return dropped

    def _unwanted(self, queued: QueuedRequest, now_s: float) -> ProblemError | None:
        """Return the error of a job that must not go on."""
        if queued.future.cancelled():
            self._measures.cancelled += 1
            return deadline_passed()
        # Batches and resets have begun to change sessions.
        if queued.ask is not None and queued.until_s <= now_s:
            return deadline_passed()
        if self._scheduler.jobs.is_unbegun(queued):
            try:
                self.check_room(queued.request)
            except OverloadedError as error:
                return error
        return None


def deadline_passed() -> DeadlinePassedError:
    """Return the error for a request whose caller no longer waits."""
    return DeadlinePassedError("the request's timeout passed before its work was done")
