"""The result of a request some of whose sessions have moved to another engine."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from dreamserve.engine.failed_rows import blanked
from dreamserve.engine.sessions.ledger import Lease
from dreamserve_protocol.batches import DeleteBatchResult, RowError, StepBatchResult
from dreamserve_protocol.errors import SessionMovedError, StoreUnavailableError
from dreamserve_protocol.listing import AdminDeleteResult, DeleteIdleResult

BatchResult = StepBatchResult | DeleteBatchResult
CountResult = DeleteIdleResult | AdminDeleteResult


def in_doubt(session_id: str) -> StoreUnavailableError:
    """Return the error for a change of a session that may have been recorded before it moved."""
    return StoreUnavailableError(
        f"session {session_id} was taken over elsewhere, and the store did not tell whether this"
        " request had been recorded before"
    )


def without_rows(result: BatchResult, lost: Mapping[str, bool]) -> BatchResult:
    """Return a batch's result in which the rows of lost sessions have failed.

    `lost` tells which of them are in doubt: they may have been recorded.
    """
    failed = {error.row for error in result.errors}
    rows = [row for row, key in enumerate(result.session_ids) if key in lost and row not in failed]
    for row in rows:
        key = result.session_ids[row]
        moved = SessionMovedError(f"session {key} was taken over elsewhere")
        result.errors.append(RowError.of(row, in_doubt(key) if lost[key] else moved))
    result.errors.sort(key=lambda error: error.row)
    if isinstance(result, DeleteBatchResult):
        return result
    return blanked(result, rows)


def without_some(
    result: CountResult, leases: Iterable[Lease]
) -> CountResult | StoreUnavailableError:
    """Return the result without the lost sessions of `leases`, which live on elsewhere.

    Where the store did not tell whether they do, it is an error: the request may be sent again.
    """
    lost = {lease for lease in leases if lease.lost and not lease.held}
    unknown = sum(lease.in_doubt for lease in lost)
    if unknown:
        return StoreUnavailableError(
            f"the session store did not tell whether {unknown} sessions were ended"
        )
    return replace(result, deleted=max(0, result.deleted - len(lost)))
