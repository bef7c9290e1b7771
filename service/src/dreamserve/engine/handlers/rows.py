"""The errors of a batch's rows."""

from collections.abc import Sequence

from dreamserve.engine.dynamics import Size, Work
from dreamserve.engine.limits import Limits
from dreamserve_protocol.batches import RowError
from dreamserve_protocol.errors import InvalidRequestError, ProblemError

ROW_BYTES = 1024  # of a row's id, numbers and possible error
ROWS_AT_ONCE = 256  # whose errors or ids are made before other requests have their turn


def size_of_rows(limits: Limits, count: int, more_bytes: int = 0) -> Size:
    """Return the size of a batch, with `more_bytes` for each row. Raises TooLargeError."""
    memory_bytes = count * (ROW_BYTES + more_bytes)
    limits.check_job_bytes(memory_bytes, f"{count} rows")
    return Size(steps=count, memory_bytes=memory_bytes)


class RowErrors(dict[int, ProblemError]):
    """Errors by row."""

    def __setitem__(self, row: int, error: ProblemError) -> None:
        """Set the row's error, without its traceback, which would keep all that it refers to."""
        super().__setitem__(row, error.with_traceback(None))

    def set_default(self, row: int, error: ProblemError) -> None:
        """Set the row's error, unless it has one already."""
        if row not in self:
            self[row] = error

    def to_list(self) -> Work[list[RowError]]:
        """Return the errors as in the response, sorted by row."""
        errors: list[RowError] = []
        for row in sorted(self):
            errors.append(RowError.of(row, self[row]))
            if not len(errors) % ROWS_AT_ONCE:
                yield None
        return errors


def duplicate_errors(ids: Sequence[str]) -> Work[RowErrors]:
    """Return an error for every row whose session id is in an earlier row, too."""
    errors = RowErrors()
    if len(set(ids)) == len(ids):
        return errors
    seen = set[str]()
    for i, session_id in enumerate(ids):
        if session_id in seen:
            errors[i] = InvalidRequestError(f"session {session_id} is already in an earlier row")
            if not len(errors) % ROWS_AT_ONCE:
                yield None
        seen.add(session_id)
    return errors
