"""Which request runs next. Policy only: requests and their keys, no worlds, arrays or threads.

The requests of one session form a chain in the order of arrival; only the head of a chain may run,
so a batch has at most one step of a session and a session's steps keep their order. Quick requests
go first, up to the size of a batch; after each batch one job of long work gets one slice, in turn.
"""

from collections import deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from dreamserve_protocol.errors import OverloadedError


class Keyed(Protocol):
    """A request, as far as the scheduler knows it."""

    @property
    def key(self) -> Hashable | None:
        """The chain that the request belongs to, or None if it may run at any time."""
        ...

    @property
    def has_run(self) -> bool:
        """Whether it was taken off the queue before."""
        ...


T = TypeVar("T", bound=Keyed)
J = TypeVar("J")


class Scheduler(Generic[T, J]):
    """Bounded queues of requests T and of long work J. Not thread-safe: its owner locks."""

    def __init__(self, *, max_queue: int, max_batch: int, max_jobs: int) -> None:
        self._max_queue, self._max_batch, self._max_jobs = max_queue, max_batch, max_jobs
        self.ready: deque[T] = deque()
        # The requests behind each chain's head; None until there is one, to save memory and time.
        self._chains: dict[Hashable, deque[T] | None] = {}
        self.jobs: deque[J] = deque()
        self.waiting = 0

    def add(self, request: T) -> None:
        """Queue a request. Raises OverloadedError when the queue is full."""
        self._admit()
        key = request.key
        if key is None:
            self.ready.append(request)
        elif key in self._chains:
            behind = self._chains[key]
            if behind is None:
                behind = self._chains[key] = deque()
            behind.append(request)
        else:
            self._chains[key] = None
            self.ready.append(request)

    def _admit(self) -> None:
        if self.waiting >= self._max_queue:
            raise OverloadedError(f"{self.waiting} requests are waiting; try again later")
        self.waiting += 1

    def put_back(self, request: T) -> None:
        """Queue a request that was released, before those of its chain that have not run yet.

        Raises OverloadedError when the queue is full.
        """
        key = request.key
        if key is None or key not in self._chains:
            self.add(request)
            return
        self._admit()
        behind = self._chains[key]
        if behind is None:
            behind = self._chains[key] = deque()
        for i, head in enumerate(self.ready):
            if head.key == key and not head.has_run:
                self.ready[i] = request
                behind.appendleft(head)
                return
        behind.insert(sum(other.has_run for other in behind), request)

    def next(self) -> tuple[list[T], list[J]]:
        """Take a batch of requests off the queue; return it and all jobs, longest waiting first."""
        count = min(len(self.ready), self._max_batch)
        batch = [self.ready.popleft() for _ in range(count)]
        self.waiting -= count
        return batch, list(self.jobs)

    def release(self, request: T) -> None:
        """Let the next request of the same session run; call once for each request taken."""
        key = request.key
        if key is None:
            return
        behind = self._chains[key]
        if behind:
            self.ready.append(behind.popleft())
        else:
            del self._chains[key]

    def resume(self, request: T) -> None:
        """Put a request that was taken off, and not released, back in front of the queue."""
        self.waiting += 1
        self.ready.appendleft(request)

    def begin(self, job: J) -> None:
        """Add a job to those that get slices. Raises OverloadedError at `max_jobs` jobs."""
        if len(self.jobs) >= self._max_jobs:
            raise OverloadedError(
                f"{self._max_jobs} plans, samples and rollouts are in progress; try again later"
            )
        self.jobs.append(job)

    def requeue(self, job: J) -> None:
        """Move a job that had its slice behind the others."""
        self.jobs.remove(job)
        self.jobs.append(job)

    def end(self, job: J) -> None:
        """Remove a job, which gets no more slices."""
        self.jobs.remove(job)

    def empty(self) -> tuple[list[T], list[J]]:
        """Remove and return all requests and jobs."""
        chains = (chain for chain in self._chains.values() if chain)
        requests = [*self.ready, *(request for chain in chains for request in chain)]
        jobs = list(self.jobs)
        self.ready.clear()
        self._chains.clear()
        self.jobs.clear()
        self.waiting = 0
        return requests, jobs
