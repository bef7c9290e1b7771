"""Many dreams as an object, of either client: `columns` with its I/O."""

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol, Self, TypeVar

import numpy.typing as npt

from dreamserve_client.calls import Call
from dreamserve_client.columns import Columns, Rows
from dreamserve_client.retries import IN_PASSING
from dreamserve_protocol.arrays import Float32, Int64
from dreamserve_protocol.batches import ResetBatchResult, RowError, StepBatchResult
from dreamserve_protocol.common import Age
from dreamserve_protocol.errors import DreamserveError, ProblemError
from dreamserve_protocol.markers import Request

R = TypeVar("R")


class Sender(Protocol):
    """What a DreamClient is to its dreams."""

    route: str | None

    def send(self, request: Request[R] | Call[R]) -> R:
        """Return a request's result, or raise its error."""

    def with_options(self, *, timeout_s: float | None, max_retries: int | None) -> "Sender":
        """Return one with other options."""


class AsyncSender(Protocol):
    """What an AsyncDreamClient is to its dreams."""

    route: str | None

    def send(self, request: Request[R] | Call[R]) -> Coroutine[Any, Any, R]:
        """Return a request's result, or raise its error."""

    def with_options(self, *, timeout_s: float | None, max_retries: int | None) -> "AsyncSender":
        """Return one with other options."""


class _Many:
    first: ResetBatchResult

    def __init__(self, columns: Columns, route: str | None) -> None:
        self._columns = columns.routed_by(route)

    @property
    def session_ids(self) -> list[str]:
        """Ids of the sessions (B,); a reset of all may choose others if their server is ending."""
        return list(self._columns.ids)

    @property
    def steps(self) -> Int64:
        """Steps (B,) that each session has taken; a restarted one counts on. A copy."""
        return self._columns.steps.copy()

    @property
    def temperatures(self) -> Float32:
        """Temperatures (B,) of the dreams. A copy."""
        return self._columns.temperatures.copy()

    @property
    def errors(self) -> list[RowError]:
        """Errors of the rows that failed in the last call."""
        return self._columns.errors


class Dreams(_Many):
    """B dreams; `first` is their result of /reset/batch. Leaving its `with` block ends them.

    A failed row raises its error, such as InvalidActionError; `errors` then lists all failed rows.
    The steps of the other rows were taken, but are not counted yet: after `reset` of the rows that
    cannot go on, or with a valid action for them, `step` with the same actions for the other rows
    returns their results again. So a step is never taken twice and none is lost. Where `reset`
    fails for some rows, new dreams have begun in the others.
    """

    def __init__(self, client: Sender, columns: Columns) -> None:
        super().__init__(columns, client.route)
        self._client = client

    def begin(self) -> Self:
        """Begin the first dreams, if `client.dreams` has not."""
        result = self._client.send(self._columns.first())
        try:
            self.first = self._columns.begun(result)
        except ProblemError:  # of a row: other rows have begun
            self.give_up()
            raise
        return self

    def step(self, actions: npt.ArrayLike, rows: Rows = None) -> StepBatchResult:
        """Take actions (B,) or (B, A), or those of some rows (N,), in that order.

        Raises ProblemError for a failed row, and as `DreamClient.send`.
        """
        request = self._columns.step(actions, rows)
        return self._columns.stepped(self._client.send(request), rows)

    def reset(
        self,
        rows: Rows = None,
        *,
        seeds: npt.ArrayLike | None = None,
        temperature: npt.ArrayLike | None = None,
        bank: npt.ArrayLike | None = None,
        latents: npt.ArrayLike | None = None,
        age: Age = None,
    ) -> ResetBatchResult:
        """Begin new dreams in all rows or in some (N,); arguments are those of `client.dreams`.

        Raises ProblemError for a failed row, and as `DreamClient.send`.
        """
        request = self._columns.reset(
            rows, seeds=seeds, temperature=temperature, bank=bank, latents=latents, age=age
        )
        return self._columns.begun(self._client.send(request), rows)

    def close(self) -> None:
        """End the sessions that still exist."""
        self._columns.deleted(self._client.send(self._columns.delete()))

    def give_up(self) -> None:
        """End the sessions as far as the server does so at once, after another error."""
        client = self._client.with_options(**IN_PASSING)
        with suppress(DreamserveError):
            self._columns.deleted(client.send(self._columns.delete()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self.give_up()


class AsyncDreams(_Many):
    """The dreams of an AsyncDreamClient; all else is as in Dreams."""

    def __init__(self, client: AsyncSender, columns: Columns) -> None:
        super().__init__(columns, client.route)
        self._client = client

    async def begin(self) -> Self:
        """Begin the first dreams, if `client.dreams` has not."""
        result = await self._client.send(self._columns.first())
        try:
            self.first = self._columns.begun(result)
        except ProblemError:  # of a row: other rows have begun
            await self.give_up()
            raise
        return self

    async def step(self, actions: npt.ArrayLike, rows: Rows = None) -> StepBatchResult:
        """Take actions (B,) or (B, A), or those of some rows (N,), in that order.

        Raises ProblemError for a failed row, and as `DreamClient.send`.
        """
        return self._columns.stepped(
            await self._client.send(self._columns.step(actions, rows)), rows
        )

    async def reset(
        self,
        rows: Rows = None,
        *,
        seeds: npt.ArrayLike | None = None,
        temperature: npt.ArrayLike | None = None,
        bank: npt.ArrayLike | None = None,
        latents: npt.ArrayLike | None = None,
        age: Age = None,
    ) -> ResetBatchResult:
        """Begin new dreams in all rows or in some (N,); arguments are those of `client.dreams`.

        Raises ProblemError for a failed row, and as `DreamClient.send`.
        """
        request = self._columns.reset(
            rows, seeds=seeds, temperature=temperature, bank=bank, latents=latents, age=age
        )
        return self._columns.begun(await self._client.send(request), rows)

    async def close(self) -> None:
        """End the sessions that still exist."""
        self._columns.deleted(await self._client.send(self._columns.delete()))

    async def give_up(self) -> None:
        """End the sessions as far as the server does so at once, after another error."""
        client = self._client.with_options(**IN_PASSING)
        with suppress(DreamserveError):
            self._columns.deleted(await client.send(self._columns.delete()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            await self.close()
        else:
            await self.give_up()
