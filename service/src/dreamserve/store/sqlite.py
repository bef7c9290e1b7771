"""A store in one SQLite file, for a server whose sessions outlive its restart.

One server uses a file at a time; two of them would take sessions from each other, as replicas do.
`sync` waits for the disk at each commit, so that a loss of power loses nothing; without it, the end
of the process loses nothing.

Times of use are those of the wall clock, as it was when the file was opened, plus the time since.
So a clock that is set, forwards or back, changes no session's time to live while the server runs.
A clock that was set back between two runs counts as standing still.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dreamserve.errors import SettingsError
from dreamserve.store.base import (
    ENDED,
    FIRST_VERSION,
    Change,
    Retention,
    Stored,
    StoreError,
    StoreFullError,
    Taken,
)

PURGE_S = 60.0  # interval of the removal of old records
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    key TEXT PRIMARY KEY, epoch INTEGER NOT NULL, version INTEGER NOT NULL, record BLOB NOT NULL,
    used_at_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS sessions_by_use ON sessions (used_at_s);
"""
_OWN_KEYS = (
    "SELECT key FROM sessions WHERE used_at_s >= ? AND record != ? ORDER BY used_at_s DESC LIMIT ?"
)
_READ = "SELECT record, used_at_s FROM sessions WHERE key = ?"
_TAKE = (
    "UPDATE sessions SET epoch = ?, version = version + 1 WHERE key = ?"
    " RETURNING version, record, used_at_s"
)
_CHECK = (
    "UPDATE sessions SET used_at_s = coalesce(?, used_at_s)"
    " WHERE key = ? AND epoch = ? AND version <= ?"
)
_CREATE = (
    "INSERT INTO sessions (used_at_s, record, version, key, epoch) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET used_at_s = excluded.used_at_s, record = excluded.record"
    " WHERE sessions.epoch = excluded.epoch AND sessions.version = excluded.version"
)
_WRITE = (
    "UPDATE sessions SET used_at_s = ?, record = ?, version = ?"
    " WHERE key = ? AND epoch = ? AND version <= ?"
)
_LATEST = "SELECT max(used_at_s) FROM sessions"
_END_TRIAL = "DELETE FROM sessions WHERE key = ?"
_TRIAL_BYTES = 64 * 1024  # as many that a full disk has no room for them
_PURGE = "DELETE FROM sessions WHERE used_at_s < ?"


class SqliteStore:
    """Store in the file `path`. Raises SettingsError if it cannot be opened."""

    def __init__(
        self,
        path: str,
        retention: Retention,
        timeout_s: float,
        *,
        sync: bool,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retention, self._monotonic = retention, clock
        self._purged_at_s = 0.0
        if path in ("", ":memory:"):  # for SQLite a database that ends with the process
            raise SettingsError(f"the store sqlite:{path} names no file; use sqlite:PATH or memory")
        try:
            # The engine's thread and the store's use the connection, one after the other.
            self._connection = sqlite3.connect(
                path, timeout=timeout_s, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._connection.executescript(_SCHEMA)
            with self._transaction() as execute:  # which a file that is read-only refuses
                (latest_s,) = execute(_LATEST).fetchone()
        except (sqlite3.Error, StoreError) as error:
            raise SettingsError(f"cannot open the store sqlite:{path}: {error}") from error
        self._began_s = max(wall_clock(), latest_s or 0.0) - clock()

    def _clock(self) -> float:
        return self._began_s + self._monotonic()

    def own_keys(self, most: int) -> list[str]:
        since_s = self._clock() - self._retention.ttl_s
        with self._transaction("BEGIN") as execute:
            return [key for (key,) in execute(_OWN_KEYS, (since_s, ENDED, most))]

    def read(self, keys: Sequence[str]) -> list[Stored | None]:
        with self._transaction("BEGIN") as execute:
            rows = [execute(_READ, (key,)).fetchone() for key in keys]
        now_s = self._clock()
        return [row and Stored(row[0], now_s - row[1]) for row in rows]

    def take(self, keys: Sequence[str], epoch: int) -> list[Taken | None]:
        with self._transaction() as execute:
            rows = [execute(_TAKE, (epoch, key)).fetchone() for key in keys]
        now_s = self._clock()
        return [row and Taken(row[0], row[1], now_s - row[2]) for row in rows]

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        now_s = self._clock()
        with self._transaction() as execute:
            applied = [execute(*_statement(change, now_s)).rowcount == 1 for change in changes]
            if now_s - self._purged_at_s > PURGE_S:
                self._purged_at_s = now_s
                execute(_PURGE, (now_s - self._retention.kept_s,))
        return applied

    def check(self) -> list[str]:
        # Not by `commit`, which would remove the sessions that are old for this store's retention.
        self._keep_and_remove(f"?{secrets.token_hex(8)}")  # a key that no session has
        return []

    def _keep_and_remove(self, key: str) -> None:
        record = secrets.token_bytes(_TRIAL_BYTES)
        with self._transaction() as execute:
            execute(_CREATE, (self._clock(), record, FIRST_VERSION, key, 1))
        (found,) = self.read([key])
        with self._transaction() as execute:
            execute(_END_TRIAL, (key,))
        if found is None or found.record != record:
            raise StoreError("sqlite: the file does not keep what it is given")

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(
        self, begin: str = "BEGIN IMMEDIATE"
    ) -> Iterator[Callable[..., sqlite3.Cursor]]:
        connection = self._connection
        try:
            connection.execute(begin)
            try:
                yield connection.execute
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None) or 0  # its low byte is the primary one
            is_full = code & 0xFF == sqlite3.SQLITE_FULL
            raise (StoreFullError if is_full else StoreError)(f"sqlite: {error}") from error


def _statement(change: Change, now_s: float) -> tuple[str, tuple[object, ...]]:
    """Return the SQL statement of a change, which changes one row if it is applied."""
    key, epoch, version, record, renew = change
    if record is None:
        return _CHECK, (now_s if renew else None, key, epoch, version)
    if version == FIRST_VERSION:
        return _CREATE, (now_s, record, version, key, epoch)
    return _WRITE, (now_s, record, version, key, epoch, version)
