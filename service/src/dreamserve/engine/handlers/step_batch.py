"""/step/batch: advance many dreams of one world, in columns.

An error in the columns' shapes or types fails the request; an error in a row fails that row only.
The work yields between world calls.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dreamserve.backends.base import Int64
from dreamserve.backends.host_state import as_slice
from dreamserve.engine.dynamics import Work
from dreamserve.engine.failed_rows import blanked
from dreamserve.engine.handlers.base import Context
from dreamserve.engine.handlers.columns import Columns, batch_size, rows_at_once
from dreamserve.engine.handlers.rows import ROWS_AT_ONCE
from dreamserve.engine.handlers.step_columns import StepColumns, columns_of, errors_of, result_of
from dreamserve.engine.sessions.owned import no_session
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.steps import (
    different_content,
    has_ended,
    is_repeat,
    not_finite,
    out_of_order,
    step_slots,
)
from dreamserve.engine.shown import check_shown, shown_of
from dreamserve.engine.work import failure
from dreamserve.engine.world import World
from dreamserve_protocol.batches import StepBatchRequest, StepBatchResult
from dreamserve_protocol.errors import InvalidRequestError, ProblemError


def step_batch(context: Context, request: StepBatchRequest) -> Work[StepBatchResult]:
    """Take the steps, a slice of rows at a time. Raises CallerError."""
    count = len(request.session_ids)
    context.limits.check_rows(count)
    world = _world_of(context, request.session_ids)
    if world is None:
        return (yield from _all_absent(context, request))
    frames_seen = np.asarray(request.observations).ndim == 4
    has_frames = check_shown(world, request.include)
    context.limits.check_frames(count * (frames_seen + has_frames), "observations and include")
    yield batch_size(context.limits, world.spec, count, request.include)
    batch = yield from columns_of(context.sessions, world, request)
    at_once = rows_at_once(context.batch_rows, frames_seen or has_frames)
    for first in range(0, count, at_once):
        yield None
        rows = range(first, min(first + at_once, count))
        try:
            _take_slice(batch, rows)
        except Exception as error:  # earlier slices were committed, so only these rows fail
            failed = failure(error)
            for i in rows:
                batch.errors.set_default(i, failed)
    batch.result.errors.extend((yield from batch.errors.to_list()))
    result = replace(batch.result, final=batch.final.rows()) if batch.final else batch.result
    return blanked(result, list(batch.errors))


def _take_slice(batch: StepColumns, rows: range) -> None:
    """Take the steps of these rows, and write their results."""
    slab = batch.sessions.slab_of(batch.world)
    index, slots = _find(batch, rows)
    if not len(index):
        return
    following, is_alive = slab.next_steps(slots)
    requested = following if batch.steps is None else batch.steps[as_slice(index)]
    is_next = (requested == following) & is_alive
    if not is_next.all():
        for k in np.flatnonzero(~is_next).tolist():
            i = int(index[k])
            session = Session(batch.result.session_ids[i], slab, int(slots[k]))
            _repeat_or_refuse(batch, session, i, int(requested[k]))
        index, slots = index[is_next], slots[is_next]
        if not len(index):
            return
    extras = {k: batch.extras[i] for k, i in enumerate(index.tolist())} if batch.extras else {}
    frame_rows = () if batch.columns.shown is None else range(len(index))
    stepped = step_slots(slab, slots, batch.actions[as_slice(index)], extras, frame_rows)
    for k in np.flatnonzero(~stepped.is_finite).tolist():
        batch.errors[int(index[k])] = not_finite(int(stepped.number[k]))
    batch.write(index, stepped)
    ended = (stepped.terminated | stepped.truncated) & stepped.is_finite
    restarts = batch.request.on_end == "restart" and bool(ended.any())
    if extras or restarts:
        ids, rows_of = batch.result.session_ids, zip(index.tolist(), slots.tolist(), strict=True)
        sessions = {i: Session(ids[i], slab, slot) for i, slot in rows_of}
        if extras:
            batch.describe(sessions, extras, stepped)
        if restarts:
            batch.restart({int(i): sessions[int(i)] for i in index[ended]})


def _find(batch: StepColumns, rows: range) -> tuple[Int64, Int64]:
    """Return the rows (B,) without an error, and the slots (B,) of their sessions."""
    ids = batch.result.session_ids[rows.start : rows.stop]
    if not (batch.errors or batch.refused):
        slots = batch.sessions.find_all(ids, batch.world)
        if slots is not None:
            return np.arange(rows.start, rows.stop), slots
    found = {}
    for i, session_id in zip(rows, ids, strict=True):
        if i in batch.errors:
            continue
        try:
            session = batch.sessions.find(session_id)
        except ProblemError as error:
            batch.errors[i] = error
            continue
        if session.world is not batch.world:
            names = f"world {batch.world.title}, this session is of {session.world.title}"
            batch.errors[i] = InvalidRequestError(f"the batch is for {names}")
        elif i in batch.refused:
            batch.errors[i] = batch.refused[i]
        else:
            found[i] = session.slot
    return np.array(list(found), np.int64), np.array(list(found.values()), np.int64)


def _repeat_or_refuse(batch: StepColumns, session: Session, i: int, requested: int) -> None:
    """Set row `i` to its last result if its step was taken already, or else to an error."""
    current = session.step
    if requested == current + 1:
        batch.errors[i] = has_ended(current)
    elif requested != current:
        batch.errors[i] = out_of_order(current + 1, requested)
    elif not _is_repeat(batch, session, i):
        batch.errors[i] = different_content(current)
    else:
        batch.write_last(i, session)


def _is_repeat(batch: StepColumns, session: Session, i: int) -> bool:
    """Return whether row `i` repeats the session's last step with the same content."""
    restarts, extra = batch.request.on_end == "restart", batch.extras.get(i)
    restarted = restarts and (session.was_restarted or session.ended)  # as this request would
    return is_repeat(session, batch.actions[i], extra, restarted=restarted)


def _all_absent(context: Context, request: StepBatchRequest) -> Work[StepBatchResult]:
    """Return zeros and the errors of all rows, none of which has a session here.

    No world judges them; the zeros have the shapes of the default one. Raises TooLargeError.
    """
    world, count = context.world(None), len(request.session_ids)
    request = replace(request, include=shown_of(world, request.include))
    decodes = world.spec.observation.field in request.include
    context.limits.check_frames(count * decodes, "include")
    yield batch_size(context.limits, world.spec, count, request.include)
    errors = yield from errors_of(request)
    for i, session_id in enumerate(request.session_ids):
        if i and not i % ROWS_AT_ONCE:
            yield None
        if i in errors:
            continue
        try:
            context.sessions.find(session_id, use=False)
        except ProblemError as error:
            errors[i] = error
        else:  # it began since this request did
            errors[i] = no_session(session_id)
    result = result_of(request, Columns.of(world, count, request.include))
    result.errors.extend((yield from errors.to_list()))
    return result


def _world_of(context: Context, ids: Sequence[str]) -> World | None:
    """Return the world of the first session that exists; None if there is none."""
    for session_id in ids:
        if session_id not in context.sessions:  # an error for each would take too long
            continue
        try:
            return context.sessions.find(session_id, use=False).world
        except ProblemError:
            continue
    return None
