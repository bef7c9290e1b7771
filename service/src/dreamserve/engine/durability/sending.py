"""How the uses of sessions are sent to a store: in what order, as which changes, and if again.

And whether an operation has changed anything there: a store may answer, and refuse all changes.
"""

from collections.abc import Sequence

from dreamserve.engine.sessions.ledger import StoredUse
from dreamserve.store.base import FIRST_VERSION, Change, Stored, Taken


def is_kept(use: StoredUse) -> bool:
    """Return whether to send a use again that the store did not confirm.

    A session that is no longer here, and that the store has never confirmed, may be forgotten:
    during an outage any number of them can begin and end. If an attempt whose reply was lost has
    stored it nevertheless, it expires there.
    """
    return use.lease.held or use.lease.is_stored


def merged_with(before: StoredUse | None, use: StoredUse) -> StoredUse:
    """Return what a session's next use makes of one that was not sent yet."""
    if before is None:
        return use
    record = before.record if use.record is None else use.record
    return StoredUse(use.lease, record, use.renew or before.renew, use.origin or before.origin)


def records_first(uses: list[StoredUse]) -> tuple[list[StoredUse], list[StoredUse]]:
    """Return the uses that need room in the store, and the others: ends and checks.

    A full store refuses the first of them, and then has not begun the others.
    """
    return [use for use in uses if use.record], [use for use in uses if not use.record]


def without_origins(uses: list[StoredUse]) -> tuple[list[StoredUse], list[StoredUse]]:
    """Return the uses to send first, and the forks of these, which wait for their origins.

    Two forks of each other, each of which has replaced its origin, do not wait.
    """
    if all(use.origin is None for use in uses):
        return uses, []
    leases = {use.lease for use in uses}
    first = [use for use in uses if use.origin not in leases]
    if not first:
        return uses, []
    return first, [use for use in uses if use.origin in leases]


def change_of(use: StoredUse) -> Change:
    """Return the change to send. Each record has a version of its own, whatever becomes of it."""
    lease = use.lease
    if use.record is not None:
        lease.version = lease.version + 1 if lease.is_stored else FIRST_VERSION
    return Change(lease.stored_key, lease.epoch, lease.version, use.record, use.renew)


def has_changed(changes: Sequence[Change], applied: Sequence[bool]) -> bool:
    """Return whether a commit has changed a session: it has if it was more than a check."""
    pairs = zip(changes, applied, strict=True)
    return any(done and (one.record is not None or one.renew) for one, done in pairs)


def has_taken(found: Sequence[Stored | Taken | None] | str) -> bool:
    """Return whether a takeover has changed a session; what was read, or failed, has not."""
    return not isinstance(found, str) and any(
        isinstance(one, Taken) and one.left_with is None for one in found
    )
