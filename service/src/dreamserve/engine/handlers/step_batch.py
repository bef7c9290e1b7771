"""/step/batch: advance many dreams of one world, in columns.

What is wrong with the columns as such fails the request; what is wrong with a row is that row's own
error. The work yields between calls of the world.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dreamserve.backends.base import Int64
from dreamserve.backends.host_state import span
from dreamserve.engine.dynamics import Work
from dreamserve.engine.handlers.base import Context
from dreamserve.engine.handlers.columns import rows_at_once
from dreamserve.engine.handlers.step_columns import StepColumns, columns_of
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.steps import (
    has_ended,
    not_finite,
    out_of_order,
    take,
    taken_differently,
    was_asked,
)
from dreamserve.engine.work import failure
from dreamserve.engine.world import World
from dreamserve_protocol.batches import StepBatchRequest, StepBatchResult
from dreamserve_protocol.errors import (
    InvalidRequestError,
    SessionExpiredError,
    SessionNotFoundError,
)


def step_batch(context: Context, request: StepBatchRequest) -> Work[StepBatchResult]:
    """Take the steps, as many at a time as a batch has. Raises CallerError."""
    count = len(request.session_ids)
    context.limits.check_rows(count)
    world = _world_of(context, request.session_ids)
    frames_seen = np.asarray(request.observations).ndim == 4
    has_frames = "frame" in request.include
    context.limits.check_frames(count * (frames_seen + has_frames), "observations and include")
    batch = columns_of(context, world, request)
    at_once = rows_at_once(context, frames_seen or has_frames)
    for first in range(0, count, at_once):
        yield None
        rows = range(first, min(first + at_once, count))
        try:
            _take_slice(batch, rows)
        except Exception as error:  # the slices before were taken, so it is these rows' error
            failed = failure(error)
            for i in rows:
                batch.errors.set_default(i, failed)
    batch.result.errors.extend(batch.errors.listed())
    return replace(batch.result, final=batch.final.rows()) if batch.final else batch.result


def _take_slice(batch: StepColumns, rows: range) -> None:
    """Take the steps of some rows, and write their results."""
    slab = batch.sessions.slabs[batch.world.name]
    index, slots = _find(batch, rows)
    if not len(index):
        return
    following, may_go = slab.next_steps(slots)
    asked = following if batch.steps is None else batch.steps[span(index)]
    go = (asked == following) & may_go
    if not go.all():
        for k in np.flatnonzero(~go).tolist():
            i = int(index[k])
            session = Session(batch.result.session_ids[i], slab, int(slots[k]))
            _do_not_go(batch, session, i, int(asked[k]))
        index, slots = index[go], slots[go]
        if not len(index):
            return
    extras = {k: batch.extras[i] for k, i in enumerate(index.tolist())} if batch.extras else {}
    pictured = () if batch.columns.frames is None else range(len(index))
    taken = take(slab, slots, batch.actions[span(index)], extras, pictured)
    for k in np.flatnonzero(~taken.is_finite).tolist():
        batch.errors[int(index[k])] = not_finite(int(taken.number[k]))
    batch.write(index, taken)
    ended = (taken.terminated | taken.truncated) & taken.is_finite
    restarts = batch.request.on_end == "restart" and bool(ended.any())
    if extras or restarts:
        ids, rows_of = batch.result.session_ids, zip(index.tolist(), slots.tolist(), strict=True)
        sessions = {i: Session(ids[i], slab, slot) for i, slot in rows_of}
        if extras:
            batch.describe(sessions, extras, taken)
        if restarts:
            batch.restart({int(i): sessions[int(i)] for i in index[ended]})


def _find(batch: StepColumns, rows: range) -> tuple[Int64, Int64]:
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


def _do_not_go(batch: StepColumns, session: Session, i: int, asked: int) -> None:
    """Write row `i` whose step is not to be taken now: it was taken already, or cannot be."""
    current = session.step
    if asked == current + 1:
        batch.errors[i] = has_ended(current)
    elif asked != current:
        batch.errors[i] = out_of_order(current + 1, asked)
    elif not _was_asked(batch, session, i):
        batch.errors[i] = taken_differently(current)
    else:
        result, again = batch.result, session.last_result()
        result.steps[i], result.rewards[i] = current, again.reward
        result.terminated[i], result.truncated[i] = again.terminated, again.truncated
        batch.write_info(i, again.info)
        if session.was_restarted:
            batch.show_new({i: session})
        else:
            batch.columns.write(slice(i, i + 1), *session.row())
            batch.columns.decode(np.array([i]), batch.errors)


def _was_asked(batch: StepColumns, session: Session, i: int) -> bool:
    """Tell whether the last step was asked with the same content as row `i`."""
    restarts, extra = batch.request.on_end == "restart", batch.extras.get(i)
    same = was_asked(session, batch.actions[i], extra, restarted=session.was_restarted)
    return same and restarts == (session.was_restarted or (restarts and not session.ended))


def _world_of(context: Context, ids: Sequence[str]) -> World:
    """Return the world of the first session that is there, or the first world."""
    for session_id in ids:
        try:
            return context.sessions.find(session_id, use=False).world
        except (SessionNotFoundError, SessionExpiredError):
            continue
    return context.world(None)
