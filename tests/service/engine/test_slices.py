"""Long work in slices: fair turns, shared world calls, and unchanged results."""

import time
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.dispatcher import respond
from dreamserve.engine.fake import fake_world
from dreamserve.engine.handlers.base import Contexts
from dreamserve.engine.limits import UNLIMITED
from dreamserve.engine.scheduling.slices import run_slice
from dreamserve.engine.sessions.table import MAX_KEPT_BYTES, SessionTable
from dreamserve.engine.simple import Owned
from dreamserve.engine.work import Job, finish
from dreamserve.engine.world import World
from dreamserve_protocol.errors import EngineFailedError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sample import SampleRequest

Same = Callable[[Any, Any], bool]
PLANS: list[Request] = [
    PlanRequest("a", horizon=4, candidates=20, iterations=2),
    PlanRequest("b", planner="icem", horizon=6, candidates=30, iterations=3),
    PlanRequest("c", planner="mppi", horizon=3, candidates=7, iterations=5, particles=3),
    SampleRequest(session_id="d", futures=12, horizon=9),
]


class Counting:
    """A backend that records the number of rows of each step."""

    def __init__(self, world: World) -> None:
        self._backend, self.rows, self.broken = world.backend, [], False
        world.backend = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def step(self, batch: Any) -> Any:
        self.rows.append(len(batch.latent))
        if self.broken:
            raise RuntimeError("out of order")
        return self._backend.step(batch)


def contexts_of(world: World, slice_rows: int = 64) -> Contexts:
    worlds = {world.name: world}
    table = SessionTable(worlds, 9, inf, (slice_rows,), MAX_KEPT_BYTES)
    rows = {"slice_rows": slice_rows, "batch_rows": slice_rows}
    contexts = Contexts(worlds, table, UNLIMITED, time.monotonic, **rows)
    respond(contexts, [Owned(ResetRequest(session_id=name, seed=ord(name))) for name in "abcd"])
    return contexts


def begin(contexts: Contexts, *requests: Request) -> list[Job]:
    jobs = respond(contexts, [Owned(request) for request in requests])
    assert all(isinstance(job, Job) for job in jobs)
    return jobs


def run(jobs: list[Job], slice_rows: int = 64) -> dict[Job, Any]:
    """Run slices until all jobs have ended."""
    ended: dict[Job, Any] = {}
    waiting = list(jobs)
    while waiting:
        for job, outcome in run_slice(waiting, slice_rows, time.monotonic()):
            waiting.remove(job)
            if isinstance(outcome, Job):
                waiting.append(job)
            else:
                ended[job] = outcome
    return ended


@pytest.mark.parametrize("slice_rows", [8, 64, 1000])
def test_plans_and_samples_that_share_calls_equal_those_run_alone(
    same: Same, slice_rows: int
) -> None:
    jobs = begin(contexts_of(fake_world(), slice_rows), *PLANS)
    together = run(jobs, slice_rows)
    for job, request in zip(jobs, PLANS, strict=True):
        (job_alone,) = begin(contexts_of(fake_world()), request)
        alone = finish(job_alone, time.monotonic)
        if hasattr(alone, "elapsed_ms"):
            together[job] = replace(together[job], elapsed_ms=alone.elapsed_ms)
        assert same(together[job], alone)


def test_a_world_call_is_shared_by_all_jobs_that_fit_into_a_slice() -> None:
    world = fake_world()
    counting = Counting(world)
    requests = [PlanRequest(n, planner="random_shooting", horizon=5, candidates=20) for n in "abcd"]
    jobs = begin(contexts_of(world), *requests)
    counting.rows.clear()
    run(jobs)
    assert max(counting.rows) == 60  # three of them; four would be more than 64
    assert sum(counting.rows) == 4 * 20 * 5


def test_a_job_begins_beside_a_call_that_leaves_half_of_its_slice_unused() -> None:
    requests = [PlanRequest(n, planner="random_shooting", horizon=5, candidates=20) for n in "abc"]
    jobs = begin(contexts_of(fake_world()), *requests)
    assert [job.call for job in jobs] == [None] * 3
    assert [job for job, _ in run_slice(jobs, 64, 0.0)] == jobs[:1]  # to its first call
    assert [job for job, _ in run_slice(jobs, 64, 0.0)] == jobs[:2]
    assert [job for job, _ in run_slice(jobs, 64, 0.0)] == jobs[:2]  # which share 40 of 64 rows
    assert jobs[2].call is None


def test_no_call_spans_two_worlds() -> None:
    worlds = fake_world(), fake_world()
    counted = [Counting(world) for world in worlds]
    request = PlanRequest("a", planner="random_shooting", horizon=5, candidates=20)
    jobs = [job for world in worlds for job in begin(contexts_of(world), request)]
    for counting in counted:
        counting.rows.clear()
    run(jobs)
    assert [counting.rows for counting in counted] == [[20] * 5] * 2


def test_every_job_has_its_turn_before_any_has_its_second() -> None:
    jobs = begin(contexts_of(fake_world()), *PLANS)
    had: list[Job] = []
    waiting = list(jobs)
    while len(set(had)) < len(jobs):
        for job, _ in run_slice(waiting, 8, 0.0):
            had.append(job)
            waiting.remove(job)
            waiting.append(job)
    assert all(had.count(job) == 1 for job in jobs[:-1])


def test_a_failed_call_fails_only_the_jobs_that_share_it() -> None:
    world, other = fake_world(), fake_world()
    contexts, elsewhere = contexts_of(world), contexts_of(other)
    counting = Counting(world)
    jobs = begin(contexts, *PLANS[:2]) + begin(elsewhere, PLANS[2])
    for _ in range(3):  # to their first step
        job = jobs.pop(0)
        run_slice([job], 64, 0.0)
        jobs.append(job)
    counting.broken = True
    ended = run(jobs)
    assert [isinstance(ended[job], EngineFailedError) for job in jobs] == [True, True, False]


def test_work_past_its_deadline_is_cut_short_before_the_others() -> None:
    jobs = begin(contexts_of(fake_world()), PLANS[0], PlanRequest("b", budget_ms=50))
    for job in jobs:
        run_slice([job], 64, 0.0)
    assert jobs[1].call is not None
    served = run_slice(jobs, 64, jobs[1].call.until_s)
    assert [job for job, _ in served] == [jobs[1], jobs[0]]
    assert served[0][1].cut_short
    assert np.isfinite(served[0][1].value)
