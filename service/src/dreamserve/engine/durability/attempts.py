"""Operations of a store, each tried again until it is confirmed or its time has passed."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from dreamserve.engine.histogram import SECONDS, Histogram
from dreamserve.store.base import StoreError, StoreFullError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5  # between attempts

T = TypeVar("T")

log = logging.getLogger("dreamserve.store")


class Failure(str):
    """Why the store did not confirm an operation in time."""

    __slots__ = ()


class NoRoom(Failure):
    """Why a store that responds did not keep records: it is full, which only ends change."""

    __slots__ = ()


class StoreMeasures:
    """What is measured of a store; the committer's thread writes, any thread reads."""

    def __init__(self) -> None:
        self.read_s, self.take_s = Histogram(SECONDS), Histogram(SECONDS)  # with all attempts
        self.commit_s = Histogram(SECONDS)
        self.confirmed = self.refused = self.failed = 0  # changes of sessions
        self.errors = 0  # attempts that failed


class Attempts:
    """Tries operations for `timeout_s` each, and only once after one that has failed.

    A store may answer and yet refuse all changes, as one does whose disk is full, or a replica. So
    reading well makes only the next reading be tried for long, and the store stays down until it
    has changed something.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.measures = StoreMeasures()
        self.until_s: float | None = None  # of all operations, by time.monotonic; None: no end
        self._cannot_read = False  # whether the last operation that only reads failed
        self._cannot_change = False  # whether one that changes has failed since the last change
        self.is_full = False  # whether the last record found no room
        self.count = 0  # of the last operation

    @property
    def is_down(self) -> bool:
        """Whether an operation failed, and none of its kind has succeeded since."""
        return self._cannot_read or self._cannot_change

    @property
    def are_over(self) -> bool:
        """Whether the time of all operations has passed."""
        return self.until_s is not None and time.monotonic() >= self.until_s

    def result(
        self, operation: Callable[[], T], took_s: Histogram, *, only_reads: bool = False
    ) -> T | Failure:
        """Return the operation's result, or why the store did not confirm it.

        The caller tells by `changed` whether it has changed something.
        """
        pause_s, began_s, self.count = FIRST_PAUSE_S, time.monotonic(), 0
        fails = self._cannot_read if only_reads else self.is_down
        give_up_at_s = began_s + (0.0 if fails else self._timeout_s)
        while True:
            self.count += 1
            try:
                result = operation()
            except Exception as error:  # a fault of the store's code must not end this thread
                self.measures.errors += 1
                if isinstance(error, StoreFullError):
                    self.changed()  # it would
                    return self._without_room(error)
                if not isinstance(error, StoreError):
                    log.exception("an operation of the session store failed")
                until_s = give_up_at_s if self.until_s is None else self.until_s
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return self._failed(error, only_reads)
                time.sleep(min(pause_s, left_s))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                self._responds(can_change=not self._cannot_change)
                took_s.add(time.monotonic() - began_s)
                return result

    def changed(self) -> None:
        """Note that the store has changed something."""
        self._responds(can_change=True)

    def _responds(self, *, can_change: bool) -> None:
        was_down = self.is_down
        self._cannot_read, self._cannot_change = False, not can_change
        if was_down and not self.is_down:
            log.warning("the session store responds again")

    def _failed(self, error: Exception, only_reads: bool) -> Failure:
        if not self.is_down:
            log.error("the session store does not respond: %s", error)
        self._cannot_read = True
        self._cannot_change |= not only_reads
        return Failure(str(error))

    def _without_room(self, error: StoreFullError) -> NoRoom:
        if not self.is_full:
            log.error("the session store is full: %s", error)
        self.is_full = True
        return NoRoom(str(error))
