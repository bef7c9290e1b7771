"""Work of some length: a generator that yields between calls of the world, and how it ends."""

import logging
from collections.abc import Generator

from dreamserve.engine.types import Result
from dreamserve.errors import EngineFailedError, WireError

log = logging.getLogger("dreamserve.engine")

Work = Generator[None, None, Result]
Outcome = Result | WireError | Work


def resume(work: Work) -> Outcome:
    """Run work up to its next yield: return it if it goes on, else how it ended."""
    try:
        next(work)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    except Exception as error:
        return failure(error)
    return work


def failure(error: Exception) -> WireError:
    """Return the error to answer with: itself if it is one of ours, else EngineFailedError."""
    if isinstance(error, WireError):
        return error
    log.error("a request failed unexpectedly", exc_info=error)
    failed = EngineFailedError(f"the world could not be computed: {type(error).__name__}")
    failed.__cause__ = error
    return failed
