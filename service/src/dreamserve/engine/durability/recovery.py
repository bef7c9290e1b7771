"""The sessions that a store has kept for this server alone, continued when it starts.

Otherwise lists, quotas and the end of idle sessions would see them only once they are used.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress

from dreamserve.engine.sessions.keys import SessionKey, id_of, key_of_stored
from dreamserve.engine.sessions.ledger import Lease
from dreamserve.engine.sessions.stored import title_of, unpacked
from dreamserve.engine.sessions.table import SessionTable
from dreamserve.store.base import AT_ONCE, Store, StoreError, Taken, new_epoch
from dreamserve_protocol.errors import ProblemError, SessionLostError

log = logging.getLogger("dreamserve.store")


def recover(store: Store, sessions: SessionTable) -> None:
    """Continue the stored sessions that no other server uses, as far as they fit.

    The others, and those of worlds that are not loaded, are looked up when they are used. Until
    then, a world of theirs that is retired stays.
    """
    epoch, most = new_epoch(), sessions.capacity
    are_known = False
    try:
        keys = store.own_keys(most + 1)
        for key, taken in _taken(store, keys[:most], epoch):
            _continue(sessions, Lease(key, epoch, taken.version, is_stored=True), taken)
        are_known = len(keys) <= most
    except StoreError as error:
        log.warning("the sessions of the last run are not listed until they are used: %s", error)
    if not are_known:
        sessions.worlds.left_in_store(None, sessions.now_s + sessions.ttl_s)


def _taken(store: Store, keys: Sequence[str], epoch: int) -> Iterator[tuple[SessionKey, Taken]]:
    for first in range(0, len(keys), AT_ONCE):
        part = keys[first : first + AT_ONCE]
        for key, taken in zip(part, store.take(part, epoch), strict=True):
            if taken is not None:
                yield key_of_stored(key), taken


def _continue(sessions: SessionTable, lease: Lease, taken: Taken) -> None:
    try:
        slab, record = unpacked(sessions.numbered.values(), id_of(lease.key), taken.record)
        sessions.adopt(lease, slab, record, taken.idle_s)
    except ProblemError:  # it is looked up again, and the request gets this error
        with suppress(SessionLostError):  # nobody can continue a record that is damaged
            expires_s = sessions.now_s + sessions.ttl_s - taken.idle_s
            title = title_of(id_of(lease.key), taken.record)
            sessions.worlds.left_in_store(title, expires_s)
