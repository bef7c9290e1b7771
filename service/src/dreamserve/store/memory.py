"""A store in this process: the reference of the interface, for engines that share sessions."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dreamserve.store.base import FIRST_VERSION, Change, Retention, Stored, Taken


@dataclass(slots=True)
class _Entry:
    epoch: int
    version: int
    record: bytes
    used_at_s: float


class MemoryStore:
    """Store as a dict. Several engines may share it."""

    def __init__(self, retention: Retention, clock: Callable[[], float] = time.monotonic) -> None:
        self._retention, self._clock = retention, clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def own_keys(self, most: int) -> list[str]:
        return []

    def read(self, keys: Sequence[str]) -> list[Stored | None]:
        with self._lock:
            found = map(self._find, keys)
            now_s = self._clock()
            return [
                None if one is None else Stored(one.record, now_s - one.used_at_s) for one in found
            ]

    def take(self, keys: Sequence[str], epoch: int) -> list[Taken | None]:
        with self._lock:
            return [self._take(key, epoch) for key in keys]

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        with self._lock:
            return [self._commit(change) for change in changes]

    def check(self) -> list[str]:
        return []

    def close(self) -> None:
        pass

    def _find(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and self._clock() - entry.used_at_s > self._retention.kept_s:
            del self._entries[key]
            return None
        return entry

    def _take(self, key: str, epoch: int) -> Taken | None:
        entry = self._find(key)
        if entry is None:
            return None
        entry.epoch, entry.version = epoch, entry.version + 1
        return Taken(entry.version, entry.record, self._clock() - entry.used_at_s)

    def _commit(self, change: Change) -> bool:
        entry, (key, epoch, version, record, renew) = self._find(change.key), change
        if entry is None:
            if version != FIRST_VERSION or record is None:
                return False
            entry = self._entries[key] = _Entry(epoch, version, record, self._clock())
        if entry.epoch != epoch or entry.version > version:
            return False
        if renew:
            entry.used_at_s = self._clock()
        if record is not None:
            entry.version, entry.record = version, record
        return True
