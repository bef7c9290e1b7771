"""The result of a batch some of whose sessions have moved to another engine."""

from dataclasses import replace

import numpy as np

from dreamserve_protocol.arrays import Bools
from dreamserve_protocol.batches import (
    DeleteBatchResult,
    FinalRows,
    RowError,
    StepBatchResult,
)
from dreamserve_protocol.errors import SessionMovedError
from dreamserve_protocol.wire import fields_of

BatchResult = StepBatchResult | DeleteBatchResult


def without_rows(result: BatchResult, lost: set[str]) -> BatchResult:
    """Return a batch's result in which the rows of lost sessions have failed."""
    failed = {error.row for error in result.errors}
    rows = [row for row, key in enumerate(result.session_ids) if key in lost and row not in failed]
    for row in rows:
        moved = SessionMovedError(f"session {result.session_ids[row]} was taken over elsewhere")
        result.errors.append(RowError.of(row, moved))
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


def _masked(final: FinalRows, kept: Bools) -> FinalRows:
    """Return the rows where `kept` (F,) is true."""
    columns = fields_of(final)
    state = columns.pop("state", None)
    rows = {name: column[kept] for name, column in columns.items()}
    return FinalRows(**rows, state=state and {name: part[kept] for name, part in state.items()})
