"""The columns of /step/batch: validated on the way in, written on the way out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Int64
from dreamserve.backends.host_state import as_slice
from dreamserve.engine.dynamics import Work
from dreamserve.engine.handlers.columns import Columns, Final, rows_at_once
from dreamserve.engine.handlers.rows import ROWS_AT_ONCE, RowErrors, duplicate_errors
from dreamserve.engine.sessions.owned import Sessions
from dreamserve.engine.sessions.restarts import restart
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.step_extras import StepExtras, extras_of
from dreamserve.engine.sessions.steps import SteppedBatch, add_extra
from dreamserve.engine.world import World
from dreamserve_protocol.batches import StepBatchRequest, StepBatchResult
from dreamserve_protocol.errors import (
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
)


@dataclass(frozen=True, slots=True, eq=False)
class StepColumns:
    """The batch in progress."""

    request: StepBatchRequest
    sessions: Sessions
    actions: Actions  # (B, …)
    steps: Int64 | None  # (B,)
    extras: dict[int, StepExtras]  # of the rows with a valid observation
    errors: RowErrors
    refused: RowErrors  # actions and observations that the world has not: of its sessions' rows
    columns: Columns
    result: StepBatchResult
    final: Final

    @property
    def world(self) -> World:
        """The world of all rows."""
        return self.columns.world

    def write(self, index: Int64, stepped: SteppedBatch) -> None:
        """Write the results of the steps of rows `index` (B,) that were taken."""
        result, kept = self.result, np.flatnonzero(stepped.is_finite)
        where, rows = as_slice(index[kept]), as_slice(kept)
        result.steps[where] = stepped.number[rows]
        result.latents[where] = stepped.latent[rows]
        result.rewards[where] = stepped.staged.reward[rows]
        result.terminated[where] = stepped.terminated[rows]
        result.truncated[where] = stepped.truncated[rows]
        if self.columns.state is not None:
            state = stepped.staged.output().state
            self.columns.write(where, stepped.latent[rows], [part[kept] for part in state])
        if self.columns.signals is not None:
            for column, part in zip(
                self.columns.signals.values(), stepped.staged.signals, strict=True
            ):
                column[where] = part[kept]
        if self.columns.shown is not None:
            for k, shown in stepped.shown.items():
                self.columns.shown[index[k]] = shown

    def describe(
        self,
        sessions: Mapping[int, Session],
        extras: Mapping[int, StepExtras],
        stepped: SteppedBatch,
    ) -> None:
        """Write how likely the observations were; store it, in case the steps are sent again.

        sessions: By row of the batch. extras: By row of `stepped`, in the same order.
        """
        for (i, session), (k, extra) in zip(sessions.items(), extras.items(), strict=True):
            if stepped.is_finite[k]:
                described = session.last_result()
                add_extra(described, session, extra, k, stepped)
                self.write_info(i, described.info)

    def restart(self, sessions: Mapping[int, Session]) -> None:
        """Begin the next dreams in these sessions, by row, and write them."""
        restart(list(sessions.values()))
        self.show(sessions)

    def write_info(self, i: int, info: Mapping[str, float | bool]) -> None:
        """Write the `info` of an observed step to row `i`."""
        for name, value in info.items():
            getattr(self.result, name)[i] = value

    def write_last(self, i: int, session: Session) -> None:
        """Write the result of the session's last step to row `i` again."""
        result, again = self.result, session.last_result()
        result.steps[i], result.rewards[i] = session.step, again.reward
        result.terminated[i], result.truncated[i] = again.terminated, again.truncated
        self.write_info(i, again.info)
        if self.columns.signals is not None:
            for name, number in session.last_signals().items():
                self.columns.signals[name][i] = number
        self.show({i: session})

    def show(self, sessions: Mapping[int, Session]) -> None:
        """Write the present state of these sessions, by row, and the ends of dreams before it."""
        for i, session in sessions.items():
            self.columns.write(slice(i, i + 1), *session.row())
        self.columns.decode(np.array(list(sessions), np.int64), self.errors)
        if restarted := {i: one for i, one in sessions.items() if one.was_restarted}:
            self.final.add(restarted)


def columns_of(sessions: Sessions, world: World, request: StepBatchRequest) -> Work[StepColumns]:
    """Validate the columns; note the rows that are invalid."""
    steps = None if request.steps is None else np.asarray(request.steps)
    errors, refused = (yield from errors_of(request)), RowErrors()
    actions, in_space = world.spec.action_space.check_rows(request.actions)
    for n, i in enumerate(np.flatnonzero(~in_space).tolist(), 1):
        if not n % ROWS_AT_ONCE:
            yield None
        refused[i] = _action_error(world, np.asarray(request.actions)[i])
    columns = Columns.of(world, len(request.session_ids), request.include)
    result = result_of(request, columns)
    extras = (yield from _extras(world, request, refused)) if _observed(request) else {}
    final = Final(world, request.include)
    return StepColumns(
        request, sessions, actions, steps, extras, errors, refused, columns, result, final
    )


def errors_of(request: StepBatchRequest) -> Work[RowErrors]:
    """Return the errors of the rows that are invalid in any world."""
    errors = yield from duplicate_errors(request.session_ids)
    _check_numbers(None if request.steps is None else np.asarray(request.steps), errors)
    return errors


def result_of(request: StepBatchRequest, columns: Columns) -> StepBatchResult:
    """Return a result whose rows are all zeros, to be written."""
    count, observed = len(request.session_ids), _observed(request)
    decoded: Any = columns.decoded()
    return StepBatchResult(
        session_ids=request.session_ids,
        steps=np.zeros(count, np.int64),
        latents=columns.latents,
        rewards=np.zeros(count, np.float32),
        terminated=np.zeros(count, np.bool_),
        truncated=np.zeros(count, np.bool_),
        state=columns.state,
        signals=columns.signals,
        surprise=np.zeros(count, np.float32) if observed else None,
        expected_surprise=np.zeros(count, np.float32) if observed else None,
        predicted_terminated=np.zeros(count, np.bool_) if observed else None,
        end_probability=np.zeros(count, np.float32) if observed else None,
        **decoded,
    )


def _observed(request: StepBatchRequest) -> bool:
    return request.observations is not None or request.vectors is not None


def _extras(
    world: World, request: StepBatchRequest, errors: RowErrors
) -> Work[dict[int, StepExtras]]:
    extras, has_vectors = {}, request.vectors is not None
    observations = np.asarray(request.vectors if has_vectors else request.observations)
    at_once = rows_at_once(ROWS_AT_ONCE, has_frames=observations.ndim == 4)
    for i, observation in enumerate(observations):
        if i and not i % at_once:
            yield None
        try:
            seen = (None, observation) if has_vectors else (observation, None)
            extras[i] = extras_of(world, *seen)
        except (InvalidRequestError, NotFiniteInputError) as error:
            errors.set_default(i, error)
    return extras


def _check_numbers(steps: Int64 | None, errors: RowErrors) -> None:
    """Set an error for the rows whose step number is below 1."""
    if steps is None:
        return
    for i in np.flatnonzero(steps < 1).tolist():
        detail = f"a step's number is at least 1, not {steps[i]}"
        errors.set_default(i, InvalidRequestError(detail))


def _action_error(world: World, action: Any) -> InvalidActionError | NotFiniteInputError:
    try:
        world.spec.action_space.check(action)
    except (InvalidActionError, NotFiniteInputError) as error:
        return error
    raise AssertionError(f"{action!r} is valid, but `check_rows` refused it")
