"""The thread between the engine and a store: commits what turns have changed, in order.

While it waits for the store, the engine computes the next turns. Whatever has queued meanwhile is
committed together: of a session's several changes only the last one is sent. If an operation
fails, what has queued behind it fails with it, so that callers are told soon while a store is down.
A store that is full fails the changes that need room, and nothing else.

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

from dreamserve.engine.durability.attempts import Attempts, Failure, NoRoom
from dreamserve.engine.durability.sending import (
    change_of,
    has_changed,
    has_taken,
    is_kept,
    merged_with,
    records_first,
    without_origins,
)
from dreamserve.engine.histogram import Histogram
from dreamserve.engine.sessions.keys import SessionKey, stored_key
from dreamserve.engine.sessions.ledger import Lease, StoredUse
from dreamserve.store.base import Store, Stored, Taken, new_epoch

RETRY_S = 0.5  # between commits of what stayed queued
STOP_S = 0.2  # for the thread to end, beyond its deadline

Confirmed = Callable[[Failure | None], None]  # gets why the store did not confirm, or None
# What was read or taken over, in the order of the keys; or why the store did not respond.
Results = Sequence[Stored | Taken | None] | Failure
Found = Callable[[Sequence[SessionKey], Results, int], None]  # keys, …, the epoch of a takeover

log = logging.getLogger("dreamserve.store")


@dataclass(frozen=True, slots=True)
class Commit:
    """What a turn did to stored sessions, and whom to tell once it is stored."""

    uses: Sequence[StoredUse]
    confirmed: Confirmed


class Committer:
    """Runs a store's operations in a thread of its own, until `stop`."""

    def __init__(self, store: Store, found: Found, *, strict: bool, timeout_s: float) -> None:
        self._store, self._found, self._strict = store, found, strict
        self._attempts = Attempts(timeout_s)
        self.measures = self._attempts.measures
        self._unconfirmed: dict[Lease, StoredUse] = {}  # to send
        self._work = threading.Condition()  # guards the next three
        self._commits: deque[Commit] = deque()
        self._sought: list[SessionKey] = []  # to read
        self._wanted: list[SessionKey] = []  # to take over
        self.unrecorded = 0  # sessions whose last changes were answered, and are lost; once stopped
        self._thread = threading.Thread(target=self._run, name="dreamserve-store", daemon=True)
        self._thread.start()

    @property
    def is_up(self) -> bool:
        """Whether the store has confirmed its last operation of each kind, and has room."""
        return not (self._attempts.is_down or self._attempts.is_full)

    def stop(self, deadline_s: float) -> None:
        """Finish the queued work within `deadline_s`, then close the store.

        What a `relaxed` server has answered and could not record by then is logged and counted. An
        operation that hangs is not waited for.
        """
        with self._work:
            self._attempts.until_s = time.monotonic() + deadline_s
            self._work.notify()
        self._thread.join(deadline_s + STOP_S)
        if not self._strict:
            self.unrecorded = self._count_unrecorded()
        if self.unrecorded:
            log.error("%d sessions could not be recorded before the end", self.unrecorded)

    def _count_unrecorded(self) -> int:
        """Return how many sessions have changes that the store did not confirm."""
        while True:
            try:
                with self._work:
                    uses = [use for commit in self._commits for use in commit.uses]
                uses += self._unconfirmed.values()
                return len({use.lease for use in uses if is_kept(use) and not use.lease.lost})
            except RuntimeError:  # the thread, which was late, has changed it meanwhile
                continue

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
                epoch = new_epoch()
                take = partial(self._store.take, list(map(stored_key, wanted)), epoch)
                failure = self._find(wanted, take, self.measures.take_s, failure, epoch)
            if sought:
                read = partial(self._store.read, list(map(stored_key, sought)))
                failure = self._find(sought, read, self.measures.read_s, failure)
            if failure is not None:
                self._fail_queued(failure)
            if self._has_ended():
                break
        self._store.close()

    def _has_work(self) -> bool:
        queued = self._commits or self._wanted or self._sought
        is_done = self._attempts.until_s is not None and not self._unconfirmed
        return bool(queued) or is_done

    def _has_ended(self) -> bool:
        """Whether it is stopping, and everything is recorded or the time has passed."""
        if self._attempts.until_s is None:
            return False
        with self._work:
            if self._commits or self._wanted or self._sought:
                return False
        return not self._unconfirmed or self._attempts.are_over

    def _find(
        self,
        keys: Sequence[SessionKey],
        operation: Callable[[], Results],
        took_s: Histogram,
        failure: Failure | None,
        epoch: int = 0,
    ) -> Failure | None:
        """Read sessions or take them over, unless the store has just failed; return its failure."""
        found: Results
        if failure is not None:
            found = failure
        else:
            found = self._attempts.result(operation, took_s, only_reads=not epoch)
        if has_taken(found):
            self._attempts.changed()
        self._found(keys, found, epoch)
        return found if isinstance(found, Failure) and not isinstance(found, NoRoom) else None

    def _fail_queued(self, failure: Failure) -> None:
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
            self.measures.failed += len(commit.uses)
            for use in commit.uses:
                use.lease.lost = True
            commit.confirmed(failure)
        if keys:
            self._found(keys, failure, 0)

    def _commit(self, commits: Sequence[Commit]) -> Failure | None:
        """Send commits, and what is unconfirmed; return why the store did not respond."""
        waiting = self._to_send(commits)
        failed: list[StoredUse] = []
        failure: Failure | None = None
        while waiting and failure is None:
            sent, waiting = without_origins(waiting)
            failure, failed = self._send(sent)
        self._unconfirmed = {}
        self.measures.failed += len(failed)
        if not self._strict:
            self._unconfirmed = {use.lease: use for use in (*failed, *waiting) if is_kept(use)}
        else:
            for use in failed:
                use.lease.lost = use.lease.in_doubt = True
            self.measures.failed += len(waiting)
            for use in waiting:
                use.lease.lost = True
        for commit in commits:
            commit.confirmed(failure)
        return None if isinstance(failure, NoRoom) else failure

    def _to_send(self, commits: Sequence[Commit]) -> list[StoredUse]:
        """Return the uses of commits, and what is unconfirmed, one for each session."""
        merged = self._unconfirmed
        for use in (use for commit in commits for use in commit.uses):
            merged[use.lease] = merged_with(merged.get(use.lease), use)
        return [use for use in merged.values() if not use.lease.lost]

    def _send(self, uses: Sequence[StoredUse]) -> tuple[Failure | None, list[StoredUse]]:
        """Send uses; return why the store did not confirm some, and these.

        A store that is full still ends sessions, and confirms who owns them. Forks whose origin has
        been lost are lost with it.
        """
        owned = []
        for use in uses:
            if use.origin is not None and use.origin.lost:
                use.lease.lost = True
                self.measures.refused += 1
            else:
                owned.append(use)
        records, others = records_first(owned)
        failure = self._apply([*records, *others])
        if failure is None:
            self._attempts.is_full &= not records
            return None, []
        if not isinstance(failure, NoRoom):
            return failure, owned
        if (failed := self._apply(others)) is not None:
            return failed, owned
        return failure, records

    def _apply(self, uses: Sequence[StoredUse]) -> Failure | None:
        """Send uses in one operation, and note what became of them; return its failure."""
        if not uses:
            return None
        changes = list(map(change_of, uses))
        applied = self._attempts.result(
            partial(self._store.commit, changes), self.measures.commit_s
        )
        if isinstance(applied, Failure):
            return applied
        if has_changed(changes, applied):
            self._attempts.changed()
        self.measures.confirmed += sum(applied)
        self.measures.refused += len(changes) - sum(applied)
        for use, is_stored in zip(uses, applied, strict=True):
            use.lease.lost = not is_stored
            use.lease.in_doubt = self._attempts.count > 1
            use.lease.is_stored = True
        return None
