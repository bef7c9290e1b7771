"""The thread between the engine and a store: commits what turns have changed, in order.

While it waits for the store, the engine computes the next turns. Whatever has queued meanwhile is
committed together: of a session's several changes only the last one is sent. Each operation is
tried again until `timeout_s` has passed; if the last one failed, the next is tried only once, and
what has queued behind a failure fails with it, so that callers are told soon while a store is down.

`strict`: what the store did not confirm in time is lost, and the sessions' copies here with it.
Otherwise it stays queued until the store confirms it: the last record of each session that lives
here, or that the store had before it failed. These are at most twice the server's capacity.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from dreamserve.engine.durability.sending import change_of, is_kept, without_origins
from dreamserve.engine.histogram import SECONDS, Histogram
from dreamserve.engine.sessions.keys import SessionKey, stored_key
from dreamserve.engine.sessions.ledger import Lease, StoredUse
from dreamserve.store.base import (
    Store,
    Stored,
    StoreError,
    Taken,
    new_epoch,
)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5  # between attempts
RETRY_S = 0.5  # between commits of what stayed queued

T = TypeVar("T")
Confirmed = Callable[[str | None], None]  # gets why the store did not confirm, or None
# What was read or taken over, in the order of the keys; or why the store did not respond.
Results = Sequence[Stored | Taken | None] | str
Found = Callable[[Sequence[SessionKey], Results, int], None]  # keys, …, the epoch of a takeover

log = logging.getLogger("dreamserve.store")


@dataclass(frozen=True, slots=True)
class Commit:
    """What a turn did to stored sessions, and whom to tell once it is stored."""

    uses: Sequence[StoredUse]
    confirmed: Confirmed


class StoreMeasures:
    """What is measured of a store; the committer's thread writes, any thread reads."""

    def __init__(self) -> None:
        self.read_s, self.take_s = Histogram(SECONDS), Histogram(SECONDS)  # with all attempts
        self.commit_s = Histogram(SECONDS)
        self.confirmed = self.refused = self.failed = 0  # changes of sessions
        self.errors = 0  # attempts that failed


class Committer:
    """Runs a store's operations in a thread of its own, until `stop`."""

    def __init__(self, store: Store, found: Found, *, strict: bool, timeout_s: float) -> None:
        self._store, self._found = store, found
        self._strict, self._timeout_s = strict, timeout_s
        self._unconfirmed: dict[Lease, StoredUse] = {}  # to send
        self._work = threading.Condition()  # guards the next four
        self._commits: deque[Commit] = deque()
        self._sought: list[SessionKey] = []  # to read
        self._wanted: list[SessionKey] = []  # to take over
        self._stop_at_s: float | None = None  # by time.monotonic; None: not stopping
        self.measures = StoreMeasures()
        self.is_down = False  # whether the last operation failed
        self._attempts = 0  # of the last operation
        self._thread = threading.Thread(target=self._run, name="dreamserve-store", daemon=True)
        self._thread.start()

    def stop(self, deadline_s: float) -> None:
        """Finish the queued work within `deadline_s`, then close the store."""
        with self._work:
            self._stop_at_s = time.monotonic() + deadline_s
            self._work.notify()
        self._thread.join(deadline_s + self._timeout_s)

    def commit(self, commit: Commit) -> None:
        """Queue a turn's changes."""
        with self._work:
            self._commits.append(commit)
            self._work.notify()

    def read(self, keys: Sequence[SessionKey]) -> None:
        """Queue a search for sessions, which changes nothing."""
        with self._work:
            self._sought += keys
            self._work.notify()

    def take(self, keys: Sequence[SessionKey]) -> None:
        """Queue the takeover of sessions."""
        with self._work:
            self._wanted += keys
            self._work.notify()

    def _run(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(self._has_work, RETRY_S if self._unconfirmed else None)
                commits, wanted, sought = list(self._commits), self._wanted, self._sought
                self._commits.clear()
                self._wanted, self._sought = [], []
            failure = self._commit(commits) if commits or self._unconfirmed else None
            if wanted:  # after the commits, which may be of the same sessions
                failure = self._take(wanted, failure)
            if sought:
                failure = self._read(sought, failure)
            if failure is not None:
                self._fail_queued(failure)
            is_idle = not (commits or wanted or sought)
            if self._stop_at_s is not None and is_idle and self._may_end():
                break
        if self._unconfirmed:
            log.error("%d sessions could not be recorded before the end", len(self._unconfirmed))
        self._store.close()

    def _has_work(self) -> bool:
        queued = self._commits or self._wanted or self._sought
        return bool(queued) or self._stop_at_s is not None

    def _may_end(self) -> bool:
        return not self._unconfirmed or time.monotonic() >= (self._stop_at_s or 0.0)

    def _take(self, keys: Sequence[SessionKey], failure: str | None) -> str | None:
        """Take sessions over, unless the store has just failed; return its failure."""
        epoch = new_epoch()
        take = partial(self._store.take, list(map(stored_key, keys)), epoch)
        found = failure if failure is not None else self._tried(take, self.measures.take_s)
        self._found(keys, found, epoch)
        return found if isinstance(found, str) else None

    def _read(self, keys: Sequence[SessionKey], failure: str | None) -> str | None:
        """Read sessions, unless the store has just failed; return its failure."""
        read = partial(self._store.read, list(map(stored_key, keys)))
        found = failure if failure is not None else self._tried(read, self.measures.read_s)
        self._found(keys, found, 0)
        return found if isinstance(found, str) else None

    def _fail_queued(self, failure: str) -> None:
        """Fail what has queued behind an operation that failed: a hanging store takes long.

        With `relaxed`, commits wait for the store, and only lookups fail.
        """
        with self._work:
            keys = [*self._wanted, *self._sought]
            self._wanted, self._sought = [], []
            commits = list(self._commits) if self._strict else []
            if self._strict:
                self._commits.clear()
        for commit in commits:
            for use in commit.uses:
                use.lease.lost = True
            commit.confirmed(failure)
        if keys:
            self._found(keys, failure, 0)

    def _commit(self, commits: Sequence[Commit]) -> str | None:
        """Send commits, and what is unconfirmed; return why the store did not confirm them."""
        waiting = self._to_send(commits)
        sent: list[StoredUse] = []
        failure: str | None = None
        while waiting and failure is None:
            sent, waiting = without_origins(waiting)
            failure = self._send(sent)
        if failure is None:
            self._unconfirmed = {}
        elif not self._strict:
            self._unconfirmed = {use.lease: use for use in (*sent, *waiting) if is_kept(use)}
        else:
            self._unconfirmed = {}
            for use in sent:
                use.lease.lost = use.lease.in_doubt = True
            for use in waiting:
                use.lease.lost = True
        for commit in commits:
            commit.confirmed(failure)
        return failure

    def _to_send(self, commits: Sequence[Commit]) -> list[StoredUse]:
        """Return the uses of commits, and what is unconfirmed, one for each session."""
        merged = self._unconfirmed
        for use in (use for commit in commits for use in commit.uses):
            before = merged.get(use.lease)
            if before is not None:
                record = before.record if use.record is None else use.record
                origin, renew = use.origin or before.origin, use.renew or before.renew
                use = StoredUse(use.lease, record, renew, origin)
            merged[use.lease] = use
        return [use for use in merged.values() if not use.lease.lost]

    def _send(self, uses: Sequence[StoredUse]) -> str | None:
        """Send uses in one operation; return why the store did not confirm it.

        Forks whose origin has been lost are lost with it.
        """
        owned = []
        for use in uses:
            if use.origin is not None and use.origin.lost:
                use.lease.lost = True
            else:
                owned.append(use)
        if not owned:
            return None
        changes = list(map(change_of, owned))
        applied = self._tried(partial(self._store.commit, changes), self.measures.commit_s)
        self._count(applied, len(changes))
        if isinstance(applied, str):
            return applied
        for use, is_stored in zip(owned, applied, strict=True):
            use.lease.lost = not is_stored
            use.lease.in_doubt = self._attempts > 1
            use.lease.is_stored = True
        return None

    def _count(self, applied: Sequence[bool] | str, changes: int) -> None:
        """Count what became of a commit's changes."""
        measures = self.measures
        if isinstance(applied, str):
            measures.failed += changes
        else:
            confirmed = sum(applied)
            measures.confirmed += confirmed
            measures.refused += changes - confirmed

    def _tried(self, operation: Callable[[], T], took_s: Histogram) -> T | str:
        """Return the operation's result, or why the store did not confirm it in time."""
        pause_s, began_s, self._attempts = FIRST_PAUSE_S, time.monotonic(), 0
        give_up_at_s = began_s + (0.0 if self.is_down else self._timeout_s)
        while True:
            self._attempts += 1
            try:
                result = operation()
            except Exception as error:  # a fault of the store's code must not end this thread
                self.measures.errors += 1
                if not isinstance(error, StoreError):
                    log.exception("an operation of the session store failed")
                until_s = give_up_at_s if self._stop_at_s is None else self._stop_at_s
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    if not self.is_down:
                        log.error("the session store does not respond: %s", error)
                    self.is_down = True
                    return str(error)
                time.sleep(min(pause_s, left_s))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if self.is_down:
                    log.warning("the session store responds again")
                self.is_down = False
                took_s.add(time.monotonic() - began_s)
                return result
