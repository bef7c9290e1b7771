"""The result of a request some of whose sessions have moved to another engine."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from dreamserve.engine.sessions.ledger import Lease
from dreamserve_protocol.arrays import Bools
from dreamserve_protocol.batches import (
    DeleteBatchResult,
    FinalRows,
    RowError,
    StepBatchResult,
)
from dreamserve_protocol.errors import SessionMovedError, StoreUnavailableError
from dreamserve_protocol.listing import AdminDeleteResult, DeleteIdleResult
from dreamserve_protocol.wire import fields_of

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
    for column in [*fields_of(result).values(), *(result.state or {}).values()]:
        if isinstance(column, np.ndarray):
            column[rows] = 0
    if result.final is None:
        return result
    kept = ~np.isin(result.final.rows, rows)
    return replace(result, final=_masked(result.final, kept) if kept.any() else None)


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


def _masked(final: FinalRows, kept: Bools) -> FinalRows:
    """Return the rows where `kept` (F,) is true."""
    columns = fields_of(final)
    state = columns.pop("state", None)
    rows = {name: column[kept] for name, column in columns.items()}
    return FinalRows(**rows, state=state and {name: part[kept] for name, part in state.items()})
