"""The queue of an engine: takes requests from any thread, until it is closed.

`lock` guards `scheduler` and wakes the engine's thread. What selects requests (`Engine.turn`) and
what runs them (`Executor`) use both.
"""

import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, TypeAlias

from dreamserve.engine.durability.stalls import Stalls
from dreamserve.engine.options import EngineOptions
from dreamserve.engine.scheduling.asks import ask_of
from dreamserve.engine.scheduling.queued import Future, QueuedRequest, Settled
from dreamserve.engine.scheduling.scheduler import Scheduler
from dreamserve.engine.sessions.keys import SessionKey, key_of
from dreamserve_protocol.errors import DrainingError, OverloadedError, ProblemError
from dreamserve_protocol.markers import Request

RequestScheduler: TypeAlias = Scheduler[QueuedRequest]

_CLOSED = "the server is shutting down"


class RequestQueue:
    """The scheduler of an engine's requests, behind a lock.

    `held` returns the number of requests and outcomes that wait for the session store; they count
    as requests that wait. `stalls` tells which requests may have waited too long in a socket; None
    where no other server could have got them meanwhile.
    """

    def __init__(
        self,
        options: EngineOptions,
        clock: Callable[[], float],
        held: Callable[[], int],
        stalls: Stalls | None = None,
    ) -> None:
        self.scheduler: RequestScheduler = Scheduler(
            max_queue=options.max_queue,
            max_batch=options.max_batch,
            max_jobs=options.max_jobs,
            max_wait_s=options.max_wait_s,
        )
        self.lock = threading.Condition(threading.Lock())
        self._arrivals = 0
        self.closes_at_s: float | None = None  # by time.monotonic; None: it is open
        self._clock, self._held, self._max_queue = clock, held, options.max_queue
        self._limits, self.stalls = options.limits, stalls

    def add(
        self, request: Request[Any], future: Future, owner: str = "", timeout_s: float = inf
    ) -> None:
        """Queue a request whose outcome completes `future`; the caller must ensure a turn.

        It is not begun once `timeout_s` have passed. Raises TooLargeError if it names too many
        sessions, OverloadedError when too many wait, DrainingError once closed, NotReadyError as
        `Stalls.admit`.
        """
        self._limits.check_named(request)
        key: SessionKey | None = getattr(request, "session_id", None)
        if owner and isinstance(key, str):
            key = key_of(owner, key)
        now_s = self._clock()
        queued = QueuedRequest(
            request, future, key, owner, time.perf_counter(), ask_of(request), now_s + timeout_s
        )
        if self.stalls is not None:
            queued.stalls = self.stalls.admit(request)
        with self.lock:
            if self.closes_at_s is not None:  # as `check_open`, without a call for every step
                raise DrainingError(_CLOSED)
            if (held := self._held()) >= self._max_queue:
                raise OverloadedError(
                    f"{held} requests wait for the session store; try again later"
                )
            queued.arrival = self._arrivals = self._arrivals + 1
            self.scheduler.add(queued, now_s)

    def put_back(self, requests: Sequence[QueuedRequest]) -> list[Settled]:
        """Queue requests again, and wake the engine's thread; return those that are refused."""
        refused: list[Settled] = []
        with self.lock:
            for queued in requests:
                try:
                    self.check_open()
                    self.scheduler.put_back(queued)
                except ProblemError as error:
                    refused.append((queued, error))
            self.lock.notify()
        return refused

    def wake(self) -> None:
        """Wake the engine's thread, which runs turns until the engine is idle."""
        with self.lock:
            self.lock.notify()

    @property
    def has_work(self) -> bool:
        """Whether a request waits for its turn, or long work is in progress."""
        return bool(self.scheduler.ready or self.scheduler.jobs)

    @property
    def idle(self) -> bool:
        """Whether no request waits, for its turn or for a store, and none is in progress."""
        return not (self.has_work or self._held())

    def check_open(self) -> None:
        """Raise DrainingError once closed."""
        if self.closes_at_s is not None:
            raise DrainingError(_CLOSED)

    def close(self, deadline_s: float) -> None:
        """Refuse requests from now on; those that wait have `deadline_s` to be finished."""
        with self.lock:
            self.closes_at_s = time.monotonic() + deadline_s
            self.lock.notify_all()

    @property
    def is_finished(self) -> bool:
        """Whether it is closed, and idle or over its time."""
        with self.lock:
            if self.closes_at_s is None:
                return False
            return self.idle or time.monotonic() > self.closes_at_s

    def empty(self) -> list[QueuedRequest]:
        """Remove and return all requests and long work."""
        with self.lock:
            waiting, jobs = self.scheduler.empty()
        return [*waiting, *jobs]
