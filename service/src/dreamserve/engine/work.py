"""Jobs: long work (`dynamics.Work`) in progress, and its outcome."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dreamserve.engine.dynamics import SMALL, Advanced, Size, Work, WorldCall, compute
from dreamserve_protocol.errors import EngineFailedError, ProblemError

log = logging.getLogger("dreamserve.engine")

Result = Any  # the protocol's message for the verb, or None


@dataclass(slots=True, eq=False)
class Job:
    """Work in progress, and the world call that it waits for."""

    work: Work[Result]
    call: WorldCall | None = None  # None: it waits only for its next slice
    size: Size = SMALL

    def resume(self, advanced: Advanced | None = None) -> "Outcome":
        """Run the work up to its next yield; return the job, or its outcome if it has ended."""
        try:
            yielded = self.work.send(advanced)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        except Exception as error:
            return failure(error)
        if isinstance(yielded, Size):
            self.size, yielded = yielded, None
        self.call = yielded
        return self

    def close(self) -> None:
        """Stop the work before its end."""
        self.work.close()


Outcome = Result | ProblemError | Job


def finish(job: Job, clock: Callable[[], float]) -> Result | ProblemError:
    """Run a job to its end, without sharing calls with others; return its outcome."""
    outcome: Outcome = job
    while isinstance(outcome, Job):
        call = outcome.call
        in_time = call is not None and clock() < call.until_s
        try:
            advanced = compute([call])[0] if call is not None and in_time else None
        except Exception as error:
            outcome.close()
            return failure(error)
        outcome = outcome.resume(advanced)
    return outcome


def failure(error: Exception) -> ProblemError:
    """Return the error to respond with: a ProblemError itself, else an EngineFailedError."""
    if isinstance(error, ProblemError):
        return error
    log.error("a request failed unexpectedly", exc_info=error)
    failed = EngineFailedError(f"the world could not be computed: {type(error).__name__}")
    failed.__cause__ = error
    return failed
