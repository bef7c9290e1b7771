"""Which request runs next. Policy only: requests and their keys, no worlds, arrays or threads.

The requests of one session form a chain in the order of arrival; only the head of a chain may run,
so a batch has at most one step of a session and a session's steps keep their order. Quick requests
go first, up to the size of a batch; after each batch long work gets one slice (`jobs`).
"""

from collections import deque
from collections.abc import Hashable
from math import inf
from typing import Generic, Protocol, TypeVar

from dreamserve.engine.scheduling.jobs import Ask, Jobs
from dreamserve_protocol.errors import OverloadedError


class Keyed(Protocol):
    """A request, as far as the scheduler knows it."""

    @property
    def key(self) -> Hashable | None:
        """The chain that the request belongs to, or None if it may run at any time."""
        ...

    @property
    def ask(self) -> Ask | None:
        """What is known of it if it is a plan, sample or rollout."""
        ...

    @property
    def arrival(self) -> int:
        """Its number in the order of arrival."""
        ...


T = TypeVar("T", bound=Keyed)


class Scheduler(Generic[T]):
    """Bounded queues of requests T and of long work. Not thread-safe: its owner locks."""

    def __init__(
        self, *, max_queue: int, max_batch: int, max_jobs: int, max_wait_s: float = inf
    ) -> None:
        self._max_queue, self._max_batch = max_queue, max_batch
        self.ready: deque[T] = deque()
        # The requests behind each chain's head; None until there is one, to save memory and time.
        self._chains: dict[Hashable, deque[T] | None] = {}
        self.jobs: Jobs[T] = Jobs(max_jobs, max_wait_s)
        self.waiting = 0

    def add(self, request: T, now_s: float = 0.0) -> None:
        """Queue a request. Raises OverloadedError when the queue is full, or the jobs are many."""
        self._check_room()
        if request.ask is not None:
            self.jobs.admit(request.ask, now_s)
        self.waiting += 1
        self._append(request)

    def _check_room(self) -> None:
        if self.waiting >= self._max_queue:
            raise OverloadedError(f"{self.waiting} requests are waiting; try again later")

    def _append(self, request: T) -> None:
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

    def put_back(self, request: T) -> None:
        """Queue a request that was released, before those of its chain that arrived after it.

        Among them may be the chain's head: one that waits gives way at once, one that is parked as
        it resumes. One that runs may end: what it does on an outdated copy is refused as well.

        Raises OverloadedError when the queue is full. It was admitted before, whatever other long
        work has come since.
        """
        self._check_room()
        if request.ask is not None:
            self.jobs.readmit(request.ask)
        self.waiting += 1
        key = request.key
        if key is None or key not in self._chains:
            self._append(request)
            return
        behind = self._chains[key]
        if behind is None:
            behind = self._chains[key] = deque()
        for i, head in enumerate(self.ready):
            if head.key == key and head.arrival > request.arrival:
                self.ready[i], request = request, head
                break
        _insert(behind, request)

    def next(self) -> tuple[list[T], list[T]]:
        """Take a batch of requests off the queue; return it and the jobs, the next one first."""
        count = min(len(self.ready), self._max_batch)
        batch = [self.ready.popleft() for _ in range(count)]
        self.waiting -= count
        for request in batch:
            if request.ask is not None:
                self.jobs.arrive(request.ask)
        return batch, self.jobs.order() if self.jobs else []

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

    def park(self, request: T) -> None:
        """Count the long work of a request that was taken off and waits elsewhere."""
        if request.ask is not None:
            self.jobs.readmit(request.ask)

    def resume(self, request: T) -> None:
        """Put a request that was parked back in front of the queue.

        One of its chain that arrived earlier, and was put back meanwhile, goes first.
        """
        behind = None if request.key is None else self._chains[request.key]
        if behind and behind[0].arrival < request.arrival:
            earlier = behind.popleft()
            _insert(behind, request)
            request = earlier
        self.waiting += 1
        self.ready.appendleft(request)

    def drop(self, request: T) -> None:
        """Release a request that was parked and will not run."""
        if request.ask is not None:
            self.jobs.arrive(request.ask)
        self.release(request)

    def empty(self) -> tuple[list[T], list[T]]:
        """Remove and return all requests and jobs."""
        chains = (chain for chain in self._chains.values() if chain)
        requests = [*self.ready, *(request for chain in chains for request in chain)]
        for request in requests:
            if request.ask is not None:
                self.jobs.arrive(request.ask)
        jobs = self.jobs.empty()
        self.ready.clear()
        self._chains.clear()
        self.waiting = 0
        return requests, jobs


def _insert(behind: deque[T], request: T) -> None:
    """Insert a request into a chain, which is in the order of arrival."""
    behind.insert(sum(other.arrival < request.arrival for other in behind), request)
