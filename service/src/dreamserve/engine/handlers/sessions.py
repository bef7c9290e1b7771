"""GET and DELETE /sessions/{session_id}; GET and PUT its snapshot; POST /delete/batch."""

from contextlib import suppress

from dreamserve.engine.dynamics import Work
from dreamserve.engine.handlers.base import Context
from dreamserve.engine.handlers.rows import ROWS_AT_ONCE, duplicate_errors, size_of_rows
from dreamserve.engine.sessions.session import Session
from dreamserve.engine.sessions.snapshots import restored, snapshot_of
from dreamserve.engine.world import World
from dreamserve_protocol.batches import DeleteBatchRequest, DeleteBatchResult
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    SessionResult,
    Snapshot,
    SnapshotRequest,
)


def session(context: Context, request: SessionRequest) -> SessionResult:
    """Describe the session. Raises SessionNotFoundError, SessionExpiredError."""
    return _described(context, context.sessions.find(request.session_id, use=False))


def delete(context: Context, request: DeleteRequest) -> None:
    """End the session. Raises SessionNotFoundError, SessionExpiredError."""
    context.sessions.end(request.session_id)


def delete_batch(context: Context, request: DeleteBatchRequest) -> Work[DeleteBatchResult]:
    """End the sessions, some rows at a time. Raises TooLargeError."""
    count = len(request.session_ids)
    context.limits.check_rows(count)
    size = size_of_rows(context.limits, count)
    if count > ROWS_AT_ONCE:
        yield size
    errors = yield from duplicate_errors(request.session_ids)
    for i, session_id in enumerate(request.session_ids):
        if i and not i % ROWS_AT_ONCE:
            yield None
        if i not in errors:
            try:
                delete(context, DeleteRequest(session_id))
            except ProblemError as error:
                errors[i] = error
    return DeleteBatchResult(request.session_ids, (yield from errors.to_list()))


def snapshot(context: Context, request: SnapshotRequest) -> Snapshot:
    """Return the session's snapshot. Raises SessionNotFoundError, SessionExpiredError."""
    found = context.sessions.find(request.session_id, use=False)
    return snapshot_of(found.world, found.record())


def restore(context: Context, request: RestoreRequest) -> SessionResult:
    """Create or replace a session from a snapshot. Raises CallerError, DrainingError."""
    context.sessions.check_admission(request.session_id)
    context.limits.check_rewind_window(request.snapshot.rewind_window)
    world = _world_of(context, request)
    record = restored(world, request.snapshot)
    session = context.sessions.create(request.session_id, world, record.rewind_window)
    session.restore(record)
    return _described(context, session)


def _world_of(context: Context, request: RestoreRequest) -> World:
    """Return the loaded world of a snapshot, or the retired one that its session is on."""
    snapshot = request.snapshot
    with suppress(ProblemError):
        own = context.sessions.find(request.session_id, use=False).world
        if (own.name, own.version) == (snapshot.world, snapshot.world_version):
            return own
    return context.world(snapshot.world)


def _described(context: Context, session: Session) -> SessionResult:
    return SessionResult(
        session_id=session.id,
        world=session.world.name,
        world_version=session.world.version,
        step=session.step,
        seed=session.seed,
        temperature=session.temperature,
        terminated=session.terminated,
        truncated=session.truncated,
        began_at=session.began_at,
        idle_s=context.sessions.idle_s(session),
        rewindable_to=session.rewindable_to,
        max_steps=session.max_steps,
    )
