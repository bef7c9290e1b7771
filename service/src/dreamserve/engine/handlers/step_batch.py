"""/step/batch: advance many dreams of one world, in columns.

An error in the columns' shapes or types fails the request; an error in a row fails that row only.
The work yields between world calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Int64
from dreamserve.backends.host_state import as_slice
from dreamserve.engine.dynamics import Work
from dreamserve.engine.handlers.base import Context
from dreamserve.engine.handlers.rows import RowErrors, duplicate_errors
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.steps import (
    has_ended,
    not_finite,
    out_of_order,
    take,
    taken_differently,
)
from dreamserve.engine.sessions.table import Sessions
from dreamserve.engine.work import failure
from dreamserve.engine.world import World
from dreamserve_protocol.batches import StepBatchRequest, StepBatchResult
from dreamserve_protocol.errors import (
    InvalidActionError,
    InvalidRequestError,
    NotFiniteInputError,
    SessionExpiredError,
    SessionNotFoundError,
)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """The batch in progress."""

    sessions: Sessions
    world: World
    actions: Actions  # (B, …)
    steps: Int64 | None  # (B,)
    errors: RowErrors
    result: StepBatchResult


def step_batch(context: Context, request: StepBatchRequest) -> Work[StepBatchResult]:
    """Take the steps, `batch_rows` at a time. Raises CallerError."""
    ids, count = request.session_ids, len(request.session_ids)
    context.limits.check_rows(count)
    world = _world_of(context, ids)
    steps = None if request.steps is None else np.asarray(request.steps)
    errors = duplicate_errors(ids)
    _check_numbers(steps, errors)
    actions, in_space = world.spec.action_space.check_rows(request.actions)
    for i in np.flatnonzero(~in_space).tolist():
        errors.set_default(i, _action_error(world, np.asarray(request.actions)[i]))
    result = StepBatchResult(
        session_ids=ids,
        steps=np.zeros(count, np.int64),
        latents=np.zeros((count, world.spec.latent_size), np.float32),
        rewards=np.zeros(count, np.float32),
        terminated=np.zeros(count, np.bool_),
        truncated=np.zeros(count, np.bool_),
    )
    batch = _Batch(context.sessions, world, actions, steps, errors, result)
    for first in range(0, count, context.batch_rows):
        yield None
        rows = range(first, min(first + context.batch_rows, count))
        try:
            _take_slice(batch, rows)
        except Exception as error:  # earlier slices were committed, so only these rows fail
            failed = failure(error)
            for i in rows:
                errors.set_default(i, failed)
    result.errors.extend(errors.to_list())
    return result


def _check_numbers(steps: Int64 | None, errors: RowErrors) -> None:
    """Add an error for each row whose step number is below 1."""
    if steps is None:
        return
    for i in np.flatnonzero(steps < 1).tolist():
        detail = f"a step's number is at least 1, not {steps[i]}"
        errors.set_default(i, InvalidRequestError(detail))


def _take_slice(batch: _Batch, rows: range) -> None:
    """Take the steps of these rows, and write their results."""
    result, slab = batch.result, batch.sessions.slabs[batch.world.name]
    index, slots = _find(batch, rows)
    if not len(index):
        return
    following, is_alive = slab.next_steps(slots)
    requested = following if batch.steps is None else batch.steps[as_slice(index)]
    is_next = (requested == following) & is_alive
    if not is_next.all():
        for k in np.flatnonzero(~is_next).tolist():
            i = int(index[k])
            session = Session(result.session_ids[i], slab, int(slots[k]))
            _repeat_or_refuse(batch, session, i, int(requested[k]))
        index, slots = index[is_next], slots[is_next]
        if not len(index):
            return
    stepped = take(slab, slots, batch.actions[as_slice(index)], {})
    is_finite = stepped.is_finite
    if not is_finite.all():
        for k in np.flatnonzero(~is_finite).tolist():
            batch.errors[int(index[k])] = not_finite(int(stepped.number[k]))
        index = index[is_finite]
    target, source = as_slice(index), as_slice(np.flatnonzero(is_finite))
    result.steps[target] = stepped.number[source]
    result.latents[target] = stepped.latent[source]
    result.rewards[target] = stepped.staged.reward[source]
    result.terminated[target] = stepped.terminated[source]


def _find(batch: _Batch, rows: range) -> tuple[Int64, Int64]:
    """Return the rows (B,) without an error, and the slots (B,) of their sessions."""
    ids = batch.result.session_ids[rows.start : rows.stop]
    if not batch.errors:
        slots = batch.sessions.find_all(ids, batch.world)
        if slots is not None:
            return np.arange(rows.start, rows.stop), slots
    found = {}
    for i, session_id in zip(rows, ids, strict=True):
        if i in batch.errors:
            continue
        try:
            session = batch.sessions.find(session_id)
        except (SessionNotFoundError, SessionExpiredError) as error:
            batch.errors[i] = error
            continue
        if session.world is batch.world:
            found[i] = session.slot
            continue
        batch.errors[i] = InvalidRequestError(
            f"the batch is for world {batch.world.name}, this session is of {session.world.name}"
        )
    return np.array(list(found), np.int64), np.array(list(found.values()), np.int64)


def _repeat_or_refuse(batch: _Batch, session: Session, i: int, requested: int) -> None:
    """Set row `i` to its last result if its step was taken already, or else to an error."""
    current = session.step
    if requested == current + 1:
        batch.errors[i] = has_ended(current)
    elif requested != current:
        batch.errors[i] = out_of_order(current + 1, requested)
    elif session.last_answer is not None or not session.took(batch.actions[i]):
        batch.errors[i] = taken_differently(current)
    else:
        result, last = batch.result, session.last_result()
        result.steps[i], result.latents[i] = current, last.latent
        result.rewards[i], result.terminated[i] = last.reward, last.terminated


def _world_of(context: Context, ids: Sequence[str]) -> World:
    """Return the world of the first session that exists, or the default world."""
    for session_id in ids:
        try:
            return context.sessions.find(session_id, use=False).world
        except (SessionNotFoundError, SessionExpiredError):
            continue
    return context.world(None)


def _action_error(world: World, action: Any) -> InvalidActionError | NotFiniteInputError:
    try:
        world.spec.action_space.check(action)
    except (InvalidActionError, NotFiniteInputError) as error:
        return error
    raise AssertionError(f"check_rows refused {action!r}, which check accepts")
