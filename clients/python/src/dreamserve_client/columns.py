"""Many dreams of one world, driven in columns: a field is an array, a row a dream.

The requests of many dreams, and what their results mean, without I/O: `dreams` adds it.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from dreamserve_client.calls import new_ids
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

Rows = Int64 | None  # numbers of rows (N,); None: all of them
_GONE = {SessionNotFoundError.code, SessionExpiredError.code}


@dataclass(eq=False)
class Columns:
    """Begin many dreams in one world and return them as an object.

    count: B, the number of dreams, instead of `session_ids`; ids are generated.
    world: Name of a loaded world. Default: the first one loaded.
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
        self.ids = list(self.session_ids or new_ids(self.count or 0))
        if not self.ids:
            raise InvalidRequestError("there must be at least one dream")
        self.steps = np.zeros(len(self.ids), np.int64)
        self.temperatures = np.empty(len(self.ids), np.float32)
        self._set_temperature(self.temperature, None)

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
    ) -> ResetBatchRequest:
        """Return the request that begins new dreams in these rows."""
        if temperature is not None:
            self._set_temperature(temperature, rows)
        return ResetBatchRequest(
            world=self.world,
            session_ids=self._ids(rows),
            seeds=None if seeds is None else array_of("seeds", seeds),
            temperatures=self.temperatures[_where(rows)],
            bank=None if bank is None else array_of("bank", bank),
            latents=None if latents is None else array_of("latents", latents, np.float32),
            age=age,
            rewind_window=self.rewind_window,
            max_steps=self.max_steps,
            include=self.include,
            frame_format=self.frame_format,
        )

    def first(self) -> ResetBatchRequest:
        """Return the request that begins the first dreams."""
        return self.reset(seeds=self.seeds, bank=self.bank, latents=self.latents, age=self.age)

    def begun(self, result: ResetBatchResult, rows: Rows = None) -> ResetBatchResult:
        """Note that the dreams have begun. Raises the error of the first row that failed."""
        self._check(result.errors, rows)
        self.steps[_where(rows)] = 0
        return result

    def step(self, actions: npt.ArrayLike, rows: Rows = None) -> StepBatchRequest:
        """Return the request that advances these rows."""
        return StepBatchRequest(
            self._ids(rows),
            array_of("actions", actions, error=InvalidActionError),
            steps=self.steps[_where(rows)] + 1,
            include=self.include,
            frame_format=self.frame_format,
            on_end=self.on_end,
        )

    def stepped(self, result: StepBatchResult, rows: Rows = None) -> StepBatchResult:
        """Note the steps. Raises the error of the first row that failed."""
        self._check(result.errors, rows)
        self.steps[_where(rows)] = result.steps
        return result

    def delete(self) -> DeleteBatchRequest:
        """Return the request that ends the sessions."""
        return DeleteBatchRequest(self.ids)

    def deleted(self, result: DeleteBatchResult) -> None:
        """Raise the error of the first row that failed, but for a session that had ended before."""
        self._check([error for error in result.errors if error.code not in _GONE])

    def _set_temperature(self, temperature: npt.ArrayLike, rows: Rows) -> None:
        given = array_of("temperature", temperature)
        try:
            self.temperatures[_where(rows)] = given
        except (ValueError, TypeError):
            count = len(self.ids) if rows is None else len(rows)
            detail = f"temperature must be one number, or {count} of them"
            raise InvalidRequestError(detail) from None

    def _check(self, errors: Sequence[RowError], rows: Rows = None) -> None:
        self.errors = [
            error if rows is None else replace(error, row=int(rows[error.row])) for error in errors
        ]
        if errors:
            first, more = self.errors[0], len(errors) - 1
            others = f" ({more} more failed, too)" if more else ""
            raise problem_of(first.code, first.status, f"row {first.row}: {first.detail}{others}")

    def _ids(self, rows: Rows) -> list[str]:
        return self.ids if rows is None else [self.ids[i] for i in rows.tolist()]


def _where(rows: Rows) -> slice | Int64:
    return slice(None) if rows is None else rows
