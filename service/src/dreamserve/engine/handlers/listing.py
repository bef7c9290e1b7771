"""GET /sessions and POST /delete/idle: list an owner's sessions, and end the idle ones.

/admin/sessions and /admin/delete do the same for every owner. Their handlers alone get the table;
the transports let only administrators use them.
"""

from dreamserve.engine.dynamics import Work
from dreamserve.engine.handlers.base import Context
from dreamserve.engine.sessions.keys import key_of
from dreamserve.engine.sessions.listing import Listed, page_of
from dreamserve.engine.sessions.listing import delete_idle as delete_idle_of
from dreamserve.engine.sessions.table import SessionTable
from dreamserve_protocol.listing import (
    AdminDeleteRequest,
    AdminDeleteResult,
    AdminSessionsRequest,
    AdminSessionsResult,
    DeleteIdleRequest,
    DeleteIdleResult,
    OwnerSummary,
    SessionsRequest,
    SessionsResult,
    SessionSummary,
)


def sessions(context: Context, request: SessionsRequest) -> SessionsResult:
    """List the owner's sessions."""
    page = context.sessions.page(request.idle_s, request.after, request.limit)
    summaries = [_summary(listed) for listed in page.sessions]
    return SessionsResult(len(context.sessions), summaries, context.sessions.quota, page.next)


def delete_idle(context: Context, request: DeleteIdleRequest) -> Work[DeleteIdleResult]:
    """End the owner's idle sessions."""
    deleted = yield from context.sessions.delete_idle(request.idle_s)
    return DeleteIdleResult(deleted)


def admin_sessions(table: SessionTable, request: AdminSessionsRequest) -> AdminSessionsResult:
    """List the sessions of every owner."""
    page = page_of(table, request.idle_s, request.after, request.limit, request.owner)
    return AdminSessionsResult(
        total=len(table),
        capacity=table.capacity,
        owners=[OwnerSummary(owner, count) for owner, count in table.counts.most_common()],
        sessions=[_summary(listed, listed.owner) for listed in page.sessions],
        next=page.next,
    )


def admin_delete(table: SessionTable, request: AdminDeleteRequest) -> Work[AdminDeleteResult]:
    """End sessions of any owner."""
    idle_s, owner = request.idle_s or 0.0, request.owner
    if owner is None or request.session_ids is None:
        return AdminDeleteResult((yield from delete_idle_of(table, idle_s, owner)))
    deleted = 0
    for session_id in request.session_ids:
        key = key_of(owner, session_id)
        if (place := table.places.get(key)) is not None:
            slab, slot = table.at(place)
            if table.now_s - slab.used_at_s[slot] >= idle_s:
                table.remove(key)
                deleted += 1
        elif table.ledger is not None and table.ledger.end_without_copy(key, idle_s):
            deleted += 1
    return AdminDeleteResult(deleted)


def _summary(listed: Listed, owner: str | None = None) -> SessionSummary:
    world, step = listed.slab.world.name, int(listed.slab.step[listed.slot])
    return SessionSummary(listed.session_id, world, step, listed.age_s, listed.idle_s, owner)
