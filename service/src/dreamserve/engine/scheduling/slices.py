"""One slice of long work: whose turn it is, and one call of the world for all who can share it.

Rows never influence one another, so a plan is the same whoever shares its calls; but a call of many
rows costs far less than many calls. What is shared is bounded by `slice_rows`: a step waits for no
more than one slice.
"""

from collections.abc import Sequence

from dreamserve.engine.dynamics import compute
from dreamserve.engine.work import Job, Outcome, failure


def run_slice(jobs: Sequence[Job], slice_rows: int, now_s: float) -> list[tuple[Job, Outcome]]:
    """Let jobs, the longest waiting first, have their turn; return who had one, and what came.

    A job whose call of the world is too late by `now_s` is resumed without it, ahead of the others.
    """
    late: list[Job] = []
    waiting: list[Job] = []
    for job in jobs:
        is_late = job.call is not None and now_s >= job.call.until_s
        (late if is_late else waiting).append(job)
    done = [(job, job.resume(None)) for job in late]
    sharing = _sharing(waiting, slice_rows)
    calls = [job.call for job in sharing if job.call is not None]
    if not calls:
        return done + [(job, job.resume(None)) for job in sharing]
    try:
        computed = compute(calls)
    except Exception as error:
        for job in sharing:
            job.close()
        return done + [(job, failure(error)) for job in sharing]
    return done + [(job, job.resume(one)) for job, one in zip(sharing, computed, strict=True)]


def _sharing(jobs: Sequence[Job], slice_rows: int) -> list[Job]:
    """Return the first job and, if it waits for the world, those whose calls fit in beside its."""
    if not jobs or jobs[0].call is None:
        return list(jobs[:1])
    world, rows = jobs[0].call.world, 0
    sharing: list[Job] = []
    for job in jobs:
        call = job.call
        if call is None or call.world is not world:
            continue
        if not sharing or rows + len(call) <= slice_rows:
            sharing.append(job)
            rows += len(call)
    return sharing
