"""Errors of a batch's rows: the first one of each row counts."""

from collections.abc import Sequence

from dreamserve_protocol.batches import RowError
from dreamserve_protocol.errors import InvalidRequestError, ProblemError


class RowErrors(dict[int, ProblemError]):
    """Errors by row."""

    def set_default(self, row: int, error: ProblemError) -> None:
        """Note the row's error, unless it has one already."""
        self.setdefault(row, error)

    def listed(self) -> list[RowError]:
        """Return them as they are answered, by rising row."""
        return [RowError.of(row, error) for row, error in sorted(self.items())]


def repeated(ids: Sequence[str]) -> RowErrors:
    """Return an error for every row whose session an earlier row has."""
    errors = RowErrors()
    if len(set(ids)) == len(ids):
        return errors
    seen = set[str]()
    for i, session_id in enumerate(ids):
        if session_id in seen:
            errors[i] = InvalidRequestError(f"session {session_id} is already in an earlier row")
        seen.add(session_id)
    return errors
