"""Work of some length: a generator that yields wherever others may have their turn.

It yields None to give up the rest of its time slice, or a `WorldCall`: a step of the world, which
its driver may compute together with others' steps (`scheduling.slices`). It is sent the outcome, or
None when there was no time left to compute it.
"""

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from dreamserve.engine.dynamics import Advanced, WorldCall, answer
from dreamserve.engine.types import Result
from dreamserve.errors import EngineFailedError, WireError

log = logging.getLogger("dreamserve.engine")

R = TypeVar("R")
Work = Generator[WorldCall | None, Advanced | None, R]


@dataclass(slots=True, eq=False)
class Task:
    """Work in progress, and what it waits for."""

    work: Work[Result]
    ask: WorldCall | None = None  # None: only its turn

    def resume(self, advanced: Advanced | None = None) -> "Outcome":
        """Run the work up to its next yield: return the task if it goes on, else how it ended."""
        try:
            self.ask = self.work.send(advanced)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        except Exception as error:
            return failure(error)
        return self

    def close(self) -> None:
        """End the work where it stands."""
        self.work.close()


Outcome = Result | WireError | Task


def finish(task: Task, clock: Callable[[], float]) -> Result | WireError:
    """Run a task to its end, with nobody else's, and return how it ended."""
    outcome: Outcome = task
    while isinstance(outcome, Task):
        ask = outcome.ask
        in_time = ask is not None and clock() < ask.until_s
        try:
            advanced = answer([ask])[0] if ask is not None and in_time else None
        except Exception as error:
            outcome.close()
            return failure(error)
        outcome = outcome.resume(advanced)
    return outcome


def failure(error: Exception) -> WireError:
    """Return the error to answer with: itself if it is one of ours, else EngineFailedError."""
    if isinstance(error, WireError):
        return error
    log.error("a request failed unexpectedly", exc_info=error)
    failed = EngineFailedError(f"the world could not be computed: {type(error).__name__}")
    failed.__cause__ = error
    return failed
