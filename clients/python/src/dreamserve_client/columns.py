"""Many dreams of one world, driven in columns: a field is an array, a row a dream.

The requests of many dreams, and what their results mean, without I/O: `dreams` adds it.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from dreamserve_client.calls import Call, call_of, new_ids
from dreamserve_protocol.arrays import Float32, Int64, array_of
from dreamserve_protocol.batches import (
    DeleteBatchRequest,
    DeleteBatchResult,
    ResetBatchRequest,
    ResetBatchResult,
    RowError,
    StepBatchRequest,
    StepBatchResult,
)
from dreamserve_protocol.common import Age, check_one
from dreamserve_protocol.errors import (
    InvalidActionError,
    InvalidRequestError,
    SessionExpiredError,
    SessionNotFoundError,
    problem_of,
)
from dreamserve_protocol.reset import StateInclude

Rows = Sequence[int] | Int64 | None  # numbers of rows (N,); None: all of them
_GONE = {SessionNotFoundError.code, SessionExpiredError.code}


@dataclass(eq=False)
class Columns:
    """Begin many dreams in one world and return them as an object.

    count: B, the number of dreams, instead of `session_ids`; ids are generated.
    world: Name of a loaded world. Default: the first one loaded. Later dreams begin in the same.
    session_ids: B different ids.
    seeds: (B,) int64. Default: drawn.
    temperature: One number, or (B,) float32; that of later dreams, too.
    bank: (B,) int64. Bank entries to start at. Default: drawn from the seeds.
    latents: (B, Z) float32. Latents to start at instead.
    age: Of the bank entries that the seeds draw, as in Start: `beginning`, `any`, or steps.
    rewind_window: Number of last steps that each session keeps for rewind.
    max_steps: Time limit of each dream: the step that reaches it is `truncated`.
    include: What every result has besides: `frame`, `state`.
    frame_format: How frames are sent: as arrays, or, in fewer bytes, as PNG files.
    on_end: What happens to a dream that ends: `stay`, or `restart`, as in step_batch.
    """

    count: int | None = None
    _: KW_ONLY
    world: str | None = None
    session_ids: Sequence[str] | None = None
    seeds: npt.ArrayLike | None = None
    temperature: npt.ArrayLike = 1.0
    bank: npt.ArrayLike | None = None
    latents: npt.ArrayLike | None = None
    age: Age = None
    rewind_window: int = 0
    max_steps: int | None = None
    include: Sequence[StateInclude] = ()
    frame_format: Literal["array", "png"] = "array"
    on_end: Literal["stay", "restart"] = "stay"
    ids: list[str] = field(init=False)
    temperatures: Float32 = field(init=False)  # (B,)
    steps: Int64 = field(init=False)  # (B,), that each session has taken
    errors: list[RowError] = field(init=False, default_factory=list)  # of the last call

    def __post_init__(self) -> None:
        check_one(session_ids=self.session_ids, count=self.count)
        self.ids = (
            new_ids(_whole(self.count)) if self.session_ids is None else list(self.session_ids)
        )
        if not self.ids:
            raise InvalidRequestError("there must be at least one dream")
        self.steps = np.zeros(len(self.ids), np.int64)
        self.temperatures = _temperatures(self.temperature, len(self.ids))

    def routed_by(self, route: str | None) -> Self:
        """Return these columns; ids that were generated then have a client's route, if it has one.

        Call it before the first request.
        """
        if route is not None and self.session_ids is None:
            self.ids = new_ids(len(self.ids), route)
        return self

    def reset(
        self,
        rows: Rows = None,
        *,
        seeds: npt.ArrayLike | None = None,
        temperature: npt.ArrayLike | None = None,
        bank: npt.ArrayLike | None = None,
        latents: npt.ArrayLike | None = None,
        age: Age = None,
    ) -> Call[ResetBatchResult]:
        """Return the request that begins new dreams in these rows."""
        ids, heat = self._ids(rows), self.temperatures[self._where(rows)]
        request = ResetBatchRequest(
            world=self.world,
            session_ids=ids,
            seeds=None if seeds is None else array_of("seeds", seeds),
            temperatures=heat if temperature is None else _temperatures(temperature, len(ids)),
            bank=None if bank is None else array_of("bank", bank),
            latents=None if latents is None else array_of("latents", latents, np.float32),
            age=age,
            rewind_window=self.rewind_window,
            max_steps=self.max_steps,
            include=self.include,
            frame_format=self.frame_format,
        )
        may_change = rows is None and self.session_ids is None
        return replace(call_of(request), ids_may_change=may_change)

    def first(self) -> Call[ResetBatchResult]:
        """Return the request that begins the first dreams."""
        return self.reset(seeds=self.seeds, bank=self.bank, latents=self.latents, age=self.age)

    def begun(self, result: ResetBatchResult, rows: Rows = None) -> ResetBatchResult:
        """Note which dreams have begun, and in which world: later ones begin in the same.

        Raises the error of the first row that failed.
        """
        self.world = result.world
        if rows is None:
            self.ids = list(result.session_ids)  # others where the first server was draining
        new = begun_rows(result)
        where = np.arange(len(self.ids))[self._where(rows)][new]
        self.steps[where], self.temperatures[where] = 0, result.temperatures[new]
        self._check(result.errors, rows)
        return result

    def step(self, actions: npt.ArrayLike, rows: Rows = None) -> StepBatchRequest:
        """Return the request that advances these rows."""
        return StepBatchRequest(
            self._ids(rows),
            array_of("actions", actions, error=InvalidActionError),
            steps=self.steps[self._where(rows)] + 1,
            include=self.include,
            frame_format=self.frame_format,
            on_end=self.on_end,
        )

    def stepped(self, result: StepBatchResult, rows: Rows = None) -> StepBatchResult:
        """Note the steps. Raises the error of the first row that failed."""
        self._check(result.errors, rows)
        self.steps[self._where(rows)] = result.steps
        return result

    def delete(self) -> DeleteBatchRequest:
        """Return the request that ends the sessions."""
        return DeleteBatchRequest(self.ids)

    def deleted(self, result: DeleteBatchResult) -> None:
        """Raise the error of the first row that failed, but for a session that had ended before."""
        self._check([error for error in result.errors if error.code not in _GONE])

    def _check(self, errors: Sequence[RowError], rows: Rows = None) -> None:
        self.errors = [
            error if rows is None else replace(error, row=int(rows[error.row])) for error in errors
        ]
        if errors:
            first, more = self.errors[0], len(errors) - 1
            others = f" ({more} more failed, too)" if more else ""
            raise problem_of(first.code, first.status, f"row {first.row}: {first.detail}{others}")

    def _ids(self, rows: Rows) -> list[str]:
        where = self._where(rows)
        return self.ids if isinstance(where, slice) else [self.ids[i] for i in where.tolist()]

    def _where(self, rows: Rows) -> slice | Int64:
        """Return what selects these rows. Raises InvalidRequestError for what are none."""
        if rows is None:
            return slice(None)
        most = len(self.ids) - 1
        try:
            numbers = array_of("rows", rows)
        except ValueError:  # of lists of different lengths
            numbers = np.empty(0)
        are_integers = numbers.ndim == 1 and numbers.size > 0 and numbers.dtype.kind in "iu"
        if not are_integers or numbers.min() < 0 or numbers.max() > most:
            raise InvalidRequestError(f"rows must be numbers of rows, 0 to {most}, in a sequence")
        return numbers.astype(np.int64, copy=False)


def _whole(count: Any) -> int:
    """Return a number of dreams. Raises InvalidRequestError."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer):
        raise InvalidRequestError(f"count must be an integer, not {count!r}")
    return int(count)


def begun_rows(result: ResetBatchResult) -> Int64:
    """Return the rows of a result in which a dream has begun."""
    failed = [error.row for error in result.errors]
    return np.delete(np.arange(len(result.session_ids)), failed)


def _temperatures(temperature: npt.ArrayLike, count: int) -> Float32:
    """Return one temperature, or `count` of them, as a column. Raises InvalidRequestError."""
    given, column = array_of("temperature", temperature), np.empty(count, np.float32)
    try:
        column[:] = given
    except (ValueError, TypeError):
        detail = f"temperature must be one number, or {count} of them"
        raise InvalidRequestError(detail) from None
    return column
