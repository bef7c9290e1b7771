"""Executes the work of a turn: a batch of waiting requests, and a slice of long work."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from dreamserve.engine.handlers.base import Context
from dreamserve.engine.scheduling.jobs import Ask
from dreamserve.engine.scheduling.queued import QueuedRequest, Settled
from dreamserve.engine.scheduling.scheduler import Scheduler
from dreamserve.engine.scheduling.slices import run_slice
from dreamserve.engine.work import Job, Outcome, failure
from dreamserve_protocol.errors import DeadlinePassedError, OverloadedError, ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest

RequestScheduler: TypeAlias = Scheduler[QueuedRequest]
Respond = Callable[[Context, Sequence[Request[Any]]], list[Outcome]]  # `dispatcher.respond`

_AT_ONCE = Ask()  # of batches and resets
_CHECK_EVERY = 50  # slices, after which all jobs are checked for callers that are gone


class Executor:
    """Runs what the scheduler selected, and tells it what has ended. One thread at a time."""

    def __init__(
        self,
        respond: Respond,
        context: Context,
        scheduler: RequestScheduler,
        lock: threading.Condition,
    ) -> None:
        self._respond, self._context, self._scheduler = respond, context, scheduler
        self._lock = lock  # guards the scheduler
        self._slices = 0
        self._served_at_s = 0.0  # when the last slice ended, or the first job of several began

    def run_batch(self, requests: list[QueuedRequest]) -> list[Settled]:
        """Return the outcomes of the completed requests; the others have become jobs."""
        now_s = self._context.clock()
        batch = [queued for queued in requests if not queued.future.cancelled()]
        late = [queued for queued in batch if queued.until_s <= now_s]
        settled: list[Settled] = [(queued, deadline_passed()) for queued in late]
        if late:
            batch = [queued for queued in batch if queued.until_s > now_s]
        try:
            outcomes = self._respond(self._context, [queued.request for queued in batch])
        except Exception as error:
            outcomes = [failure(error)] * len(batch)
        with self._lock:
            for queued, outcome in zip(batch, outcomes, strict=True):
                if not isinstance(outcome, Job):
                    settled.append((queued, outcome))
                elif (refused := self._begin(queued, outcome, now_s)) is not None:
                    settled.append((queued, refused))
            for queued in requests:
                if not queued.holds_session:
                    self._scheduler.release(queued)
        return settled

    def _begin(self, queued: QueuedRequest, job: Job, now_s: float) -> ProblemError | None:
        """Schedule a job for slices; return the error if there are too many."""
        queued.job = job
        ask = replace(queued.ask or _AT_ONCE, steps=job.size.steps)
        if not self._scheduler.jobs:
            self._served_at_s = now_s
        try:
            self._scheduler.jobs.begin(queued, ask, job.size.memory_bytes, now_s)
        except OverloadedError as error:
            job.close()
            return error
        queued.holds_session = isinstance(queued.request, ResetRequest)
        return None

    def run_slice(self, requests: list[QueuedRequest]) -> list[Settled]:
        """Run one slice of these requests' jobs; return the outcomes of the jobs that ended."""
        now_s = self._context.clock()
        self._slices += 1
        if self._slices % _CHECK_EVERY:
            known = requests
        else:  # also those that do not run yet
            with self._lock:
                known = self._scheduler.jobs.all()
        by_job = {queued.job: queued for queued in known if queued.job is not None}
        dropped = {
            job: error
            for job, queued in by_job.items()
            if (error := _dropped(queued, now_s)) is not None
        }
        jobs = [queued.job for queued in requests if queued.job and queued.job not in dropped]
        ran = run_slice(jobs, self._context.slice_rows, now_s)
        ended = {job: outcome for job, outcome in ran if not isinstance(outcome, Job)}
        for job, error in dropped.items():
            job.close()
            ended[job] = error
        served_at_s = self._context.clock()
        with self._lock:
            jobs_in_progress = self._scheduler.jobs
            served = [by_job[job] for job, _ in ran]
            jobs_in_progress.serve(served, served_at_s - self._served_at_s)
            for job, outcome in ended.items():
                queued = by_job[job]
                jobs_in_progress.end(queued, not isinstance(outcome, ProblemError))
                if queued.holds_session:
                    self._scheduler.release(queued)
        self._served_at_s = served_at_s
        return [(by_job[job], outcome) for job, outcome in ended.items()]


def deadline_passed() -> DeadlinePassedError:
    """Return the error for a request whose caller no longer waits."""
    return DeadlinePassedError("the request's timeout passed before its work was done")


def _dropped(queued: QueuedRequest, now_s: float) -> ProblemError | None:
    """Return the error of a job that nobody waits for and that may end before it is done."""
    if queued.future.cancelled():
        return deadline_passed()
    # Batches and resets have begun to change sessions.
    return deadline_passed() if queued.ask is not None and queued.until_s <= now_s else None
