"""The errors of a batch's rows."""

from collections.abc import Sequence

from dreamserve_protocol.batches import RowError
from dreamserve_protocol.errors import InvalidRequestError, ProblemError


class RowErrors(dict[int, ProblemError]):
    """Errors by row."""

    def set_default(self, row: int, error: ProblemError) -> None:
        """Set the row's error, unless it has one already."""
        self.setdefault(row, error)

    def to_list(self) -> list[RowError]:
        """Return the errors as in the response, sorted by row."""
        return [RowError.of(row, error) for row, error in sorted(self.items())]


def duplicate_errors(ids: Sequence[str]) -> RowErrors:
    """Return an error for every row whose session id is in an earlier row, too."""
    errors = RowErrors()
    if len(set(ids)) == len(ids):
        return errors
    seen = set[str]()
    for i, session_id in enumerate(ids):
        if session_id in seen:
            errors[i] = InvalidRequestError(f"session {session_id} is already in an earlier row")
        seen.add(session_id)
    return errors
