"""/step/batch: advance many dreams of one world, in columns.

What is wrong with the columns as such fails the request; what is wrong with a row is that row's own
error. The work yields between calls of the world.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamserve.backends.base import Actions, Int64
from dreamserve.backends.host_state import as_slice
from dreamserve.engine.dynamics import Work
from dreamserve.engine.handlers.base import Context
from dreamserve.engine.handlers.rows import RowErrors, repeated
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
    """Take the steps, as many at a time as a batch has. Raises CallerError."""
    ids, count = request.session_ids, len(request.session_ids)
    context.limits.check_rows(count)
    world = _world_of(context, ids)
    steps = None if request.steps is None else np.asarray(request.steps)
    errors = repeated(ids)
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
        except Exception as error:  # the slices before were taken, so it is these rows' error
            failed = failure(error)
            for i in rows:
                errors.set_default(i, failed)
    result.errors.extend(errors.listed())
    return result


def _check_numbers(steps: Int64 | None, errors: RowErrors) -> None:
    """Note the rows whose step has no number that a step can have."""
    if steps is None:
        return
    for i in np.flatnonzero(steps < 1).tolist():
        detail = f"a step's number is at least 1, not {steps[i]}"
        errors.set_default(i, InvalidRequestError(detail))


def _take_slice(batch: _Batch, rows: range) -> None:
    """Take the steps of some rows, and write their results."""
    result, slab = batch.result, batch.sessions.slabs[batch.world.name]
    index, slots = _find(batch, rows)
    if not len(index):
        return
    following, may_go = slab.next_steps(slots)
    asked = following if batch.steps is None else batch.steps[as_slice(index)]
    go = (asked == following) & may_go
    if not go.all():
        for k in np.flatnonzero(~go).tolist():
            i = int(index[k])
            _do_not_go(batch, Session(result.session_ids[i], slab, int(slots[k])), i, int(asked[k]))
        index, slots = index[go], slots[go]
        if not len(index):
            return
    taken = take(slab, slots, batch.actions[as_slice(index)], {})
    is_finite = taken.is_finite
    if not is_finite.all():
        for k in np.flatnonzero(~is_finite).tolist():
            batch.errors[int(index[k])] = not_finite(int(taken.number[k]))
        index = index[is_finite]
    where, kept = as_slice(index), as_slice(np.flatnonzero(is_finite))
    result.steps[where] = taken.number[kept]
    result.latents[where] = taken.latent[kept]
    result.rewards[where] = taken.staged.reward[kept]
    result.terminated[where] = taken.terminated[kept]


def _find(batch: _Batch, rows: range) -> tuple[Int64, Int64]:
    """Return those rows (B,) that have no error, and the slots (B,) of their sessions."""
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


def _do_not_go(batch: _Batch, session: Session, i: int, asked: int) -> None:
    """Answer row `i` whose step is not to be taken now: it was taken already, or cannot be."""
    current = session.step
    if asked == current + 1:
        batch.errors[i] = has_ended(current)
    elif asked != current:
        batch.errors[i] = out_of_order(current + 1, asked)
    elif session.last_answer is not None or not session.took(batch.actions[i]):
        batch.errors[i] = taken_differently(current)
    else:
        result, again = batch.result, session.last_result()
        result.steps[i], result.latents[i] = current, again.latent
        result.rewards[i], result.terminated[i] = again.reward, again.terminated


def _world_of(context: Context, ids: Sequence[str]) -> World:
    """Return the world of the first session that is there, or the first world."""
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
    raise AssertionError(f"{action!r} was found wrong, and is right")
