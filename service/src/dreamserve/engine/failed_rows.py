"""The failed rows of a batch's result: they hold zeros, whatever was written to them before."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from dreamserve_protocol.batches import FinalRows, ResetBatchResult, StepBatchResult
from dreamserve_protocol.wire import fields_of

R = TypeVar("R", ResetBatchResult, StepBatchResult)
Column = np.ndarray[Any, Any]


def blanked(result: R, rows: Sequence[int]) -> R:
    """Write zeros to these rows of every column of a result, and return it without their ends."""

    def blank(column: Column) -> Column:
        column[list(rows)] = 0
        return column

    if rows:
        _each_column(result, blank)
        if isinstance(result, StepBatchResult) and result.final is not None:
            kept = ~np.isin(result.final.rows, rows)
            ends = FinalRows(**_each_column(result.final, lambda column: column[kept]))
            return replace(result, final=ends if kept.any() else None)
    return result


def _each_column(
    result: StepBatchResult | ResetBatchResult | FinalRows, change: Callable[[Column], Column]
) -> dict[str, Any]:
    """Return what `change` makes of each column of a result, and of each in a dict, by field."""
    changed: dict[str, Any] = {}
    for name, value in fields_of(result).items():
        if isinstance(value, np.ndarray):
            changed[name] = change(value)
        elif isinstance(value, dict):
            changed[name] = {part: change(column) for part, column in value.items()}
    return changed
