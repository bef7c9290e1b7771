"""One slice of long work: selects a job, and computes its world call together with other jobs'.

Rows do not influence each other, so a plan's result does not depend on the jobs that share its
calls, but one call of many rows costs far less than many calls. `slice_rows` bounds a shared call,
because a step waits for at most one slice. While a call leaves half of it unused, another job that
has no call yet is resumed beside it, so that it can share the next one.
"""

from collections.abc import Sequence

from dreamserve.engine.dynamics import compute
from dreamserve.engine.work import Job, Outcome, failure


def run_slice(jobs: Sequence[Job], slice_rows: int, now_s: float) -> list[tuple[Job, Outcome]]:
    """Run one slice of `jobs`, sorted by waiting time; return the jobs that ran, with outcomes.

    Jobs whose world call has missed its deadline by `now_s` are resumed first, without an outcome.
    """
    late: list[Job] = []
    waiting: list[Job] = []
    for job in jobs:
        is_late = job.call is not None and now_s >= job.call.until_s
        (late if is_late else waiting).append(job)
    done = [(job, job.resume(None)) for job in late]
    batch = _batch_of(waiting, slice_rows)
    calls = [job.call for job in batch if job.call is not None]
    if not calls:
        return done + [(job, job.resume(None)) for job in batch]
    beside = _beside(waiting, sum(map(len, calls)), slice_rows)
    try:
        computed = compute(calls)
    except Exception as error:
        for job in batch:
            job.close()
        return done + [(job, failure(error)) for job in batch]
    done += [(job, job.resume(step)) for job, step in zip(batch, computed, strict=True)]
    return done + [(job, job.resume(None)) for job in beside]


def _beside(jobs: Sequence[Job], rows: int, slice_rows: int) -> list[Job]:
    """Return the first job without a call if there is room beside `rows` rows, else none."""
    if 2 * rows > slice_rows:
        return []
    return [job for job in jobs if job.call is None][:1]


def _batch_of(jobs: Sequence[Job], slice_rows: int) -> list[Job]:
    """Return the first job and, if it has a world call, the jobs whose calls fit beside it."""
    if not jobs or jobs[0].call is None:
        return list(jobs[:1])
    world, rows = jobs[0].call.world, 0
    batch: list[Job] = []
    for job in jobs:
        call = job.call
        if call is None or call.world is not world:
            continue
        if not batch or rows + len(call) <= slice_rows:
            batch.append(job)
            rows += len(call)
    return batch
