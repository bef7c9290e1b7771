"""One slice of long work: whose turn it is, and one call of the world for all who can share it.

Rows never influence one another, so a plan is the same whoever shares its calls; but a call of many
rows costs far less than many calls. What is shared is bounded by `slice_rows`: a step waits for no
more than one slice.
"""

from collections.abc import Sequence

from dreamserve.engine.dynamics import answer
from dreamserve.engine.scheduling.queued import Job
from dreamserve.engine.work import Outcome, failure


def run_slice(jobs: Sequence[Job], slice_rows: int, now_s: float) -> list[tuple[Job, Outcome]]:
    """Let jobs, the longest waiting first, have their turn; return who had one, and what came.

    Who asks for a step that is too late by `now_s` is told so at once, ahead of the others.
    """
    late: list[Job] = []
    waiting: list[Job] = []
    for job in jobs:
        is_late = job.task.ask is not None and now_s >= job.task.ask.until_s
        (late if is_late else waiting).append(job)
    done = [(job, job.task.resume(None)) for job in late]
    together = _sharing(waiting, slice_rows)
    asks = [job.task.ask for job in together if job.task.ask is not None]
    if not asks:
        return done + [(job, job.task.resume(None)) for job in together]
    try:
        answers = answer(asks)
    except Exception as error:
        for job in together:
            job.task.close()
        return done + [(job, failure(error)) for job in together]
    return done + [(j, j.task.resume(a)) for j, a in zip(together, answers, strict=True)]


def _sharing(jobs: Sequence[Job], slice_rows: int) -> list[Job]:
    """Return the first job and, if it asks for a step, those whose steps fit in beside it."""
    if not jobs or jobs[0].task.ask is None:
        return list(jobs[:1])
    world, rows = jobs[0].task.ask.world, 0
    together: list[Job] = []
    for job in jobs:
        ask = job.task.ask
        if ask is None or ask.world is not world:
            continue
        if not together or rows + len(ask) <= slice_rows:
            together.append(job)
            rows += len(ask)
    return together
