"""What a request needs of a store: the keys of its sessions, and their state."""

import time
from typing import Any

from dreamserve.engine.scheduling.queued import QueuedRequest, StoreNeeds
from dreamserve.engine.sessions.keys import SessionKey, key_of
from dreamserve_protocol.batches import DeleteBatchRequest, ResetBatchRequest
from dreamserve_protocol.branches import ForkRequest
from dreamserve_protocol.listing import AdminDeleteRequest, DeleteIdleRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import DeleteRequest, RestoreRequest


def needs_of(queued: QueuedRequest) -> StoreNeeds:
    """Return what is known of a request; from its first use on, it is kept with the request."""
    if queued.needs is None:
        queued.needs = StoreNeeds(time.monotonic())
    return queued.needs


def keys_of(queued: QueuedRequest, message: Any) -> list[SessionKey]:
    """Return the keys of the sessions that the request, or its result, is about."""
    one, many = getattr(message, "session_id", None), getattr(message, "session_ids", None)
    ids = [*([] if one is None else [one]), *([] if many is None else many)]
    owner = getattr(message, "owner", None) or queued.owner  # an administrator names another one
    return [key_of(owner, session_id) for session_id in ids] if owner else ids


def only_ends(request: Any) -> bool:
    """Return whether the request does nothing with the sessions it names but end them."""
    return isinstance(request, DeleteRequest | DeleteBatchRequest | AdminDeleteRequest)


def replaces(request: Any) -> bool:
    """Return whether the request begins sessions in place of those that have their names."""
    return isinstance(request, ResetRequest | ResetBatchRequest | RestoreRequest | ForkRequest)


def ends_unnamed(request: Any) -> bool:
    """Return whether the request ends sessions that neither it nor its result names."""
    return isinstance(request, DeleteIdleRequest | AdminDeleteRequest)
