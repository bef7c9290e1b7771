"""The engine: queues requests from any thread, and computes them in turns, in batches.

While one batch is computed, requests queue for the next: batches form under load, without a timer.
Each request gets exactly one outcome.
"""

import concurrent.futures
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, TypeVar

from dreamserve.engine.dispatcher import respond
from dreamserve.engine.durability.gate import Durability, Gate
from dreamserve.engine.executor import CheckRoom, Executor, Observe, RequestScheduler
from dreamserve.engine.handlers.base import Contexts
from dreamserve.engine.limits import UNLIMITED, Limits, Quota
from dreamserve.engine.measures import Measures
from dreamserve.engine.memory import Bounds, memory_bounds
from dreamserve.engine.scheduling.asks import ask_of
from dreamserve.engine.scheduling.calibration import (
    UNMEASURED_SLICE_ROWS,
    batch_sizes,
    calibrate,
)
from dreamserve.engine.scheduling.driver import Driver, InlineDriver
from dreamserve.engine.scheduling.queued import Future, QueuedRequest, Settled
from dreamserve.engine.scheduling.scheduler import Scheduler
from dreamserve.engine.sessions.keys import SessionKey, key_of
from dreamserve.engine.sessions.ledger import Ledger
from dreamserve.engine.sessions.slab import WorldMeasures, slab_bytes
from dreamserve.engine.sessions.table import MAX_KEPT_BYTES, SessionTable
from dreamserve.engine.world import World, worlds_by_name
from dreamserve_protocol.errors import (
    DrainingError,
    InvalidRequestError,
    OverloadedError,
    ProblemError,
)
from dreamserve_protocol.markers import Request

STOP_POLL_S = 0.05  # while stopping, to look whether the store has confirmed everything
STORE_DEADLINE_S = 5.0  # for the store to record what is queued when the engine stops

R = TypeVar("R")


class Engine:
    """Sessions on `worlds`, advanced in batches.

    Either call `start()`, which runs a thread until `stop()`, or call `turn()` from one thread of
    your own. An event loop may combine both: it runs short turns itself, the thread long ones.

    At most `capacity` sessions live at once and together keep at most `max_kept_bytes` of steps
    for rewinding and `max_plan_bytes` of plans; an idle one expires after `session_ttl_s`. At most
    `max_queue` requests wait; at most `max_jobs` plans, samples and rollouts are in progress, and
    as many batches, burn-ins and plans with a short budget; a plan, sample or rollout that would
    wait for over `max_wait_s` is refused. `limits` bound each request; `memory_bounds` adds up. A
    step batch has at most `max_batch` rows; a slice of a plan has `slice_rows`, by default as many
    as take `slice_ms` on this machine. A step waits for at most one slice.

    Requests must have been validated (`dreamserve.validation`): the engine only checks them against
    the world.

    A request has an owner, "" without authentication. A session belongs to the owner of the request
    that began it; for the requests of any other owner it does not exist. `quotas` bound what an
    owner may have at once.
    """

    def __init__(
        self,
        worlds: Sequence[World],
        *,
        capacity: int = 10_000,
        session_ttl_s: float = 3600.0,
        max_queue: int = 4096,
        max_batch: int = 256,
        max_jobs: int = 64,
        max_wait_s: float = inf,
        max_kept_bytes: float = MAX_KEPT_BYTES,
        max_plan_bytes: float = inf,
        slice_ms: float = 1.5,
        slice_rows: int | None = None,
        limits: Limits = UNLIMITED,
        clock: Callable[[], float] = time.monotonic,
        durability: Durability | None = None,
    ) -> None:
        self._sizes = batch_sizes(max_batch)
        self._slice_ms, self._slice_rows = slice_ms, slice_rows
        self._inline_rows = 0
        by_name = worlds_by_name(worlds)
        ledger = None if durability is None else Ledger()
        self.table = SessionTable(
            by_name,
            capacity,
            session_ttl_s,
            self._sizes,
            max_kept_bytes,
            clock,
            ledger,
            max_plan_bytes,
        )
        self._contexts = Contexts(
            by_name,
            self.table,
            limits,
            clock,
            slice_rows=slice_rows or UNMEASURED_SLICE_ROWS,
            batch_rows=max_batch,
        )
        self._scheduler: RequestScheduler = Scheduler(
            max_queue=max_queue, max_batch=max_batch, max_jobs=max_jobs, max_wait_s=max_wait_s
        )
        plans, job = max_plan_bytes, limits.job_bytes
        self._bounds = Bounds(capacity, max_queue, max_batch, max_jobs, max_kept_bytes, plans, job)
        self._max_queue = max_queue
        self._wake = threading.Condition(threading.Lock())  # guards the scheduler
        self.measures = Measures()
        self.gate: Gate | None = None
        if durability is not None and ledger is not None:
            self.gate = Gate(durability, self.table, ledger, self)
        self._executor = Executor(
            respond, self._contexts, self._scheduler, self._wake, self.measures, self.gate
        )
        self._turning = threading.Lock()  # held during a turn; its holder owns all other state
        self._thread: threading.Thread | None = None
        self._stop_at_s: float | None = None  # by time.monotonic; None: not stopping
        self._driver: Driver = InlineDriver()

    @property
    def worlds(self) -> dict[str, World]:
        """The worlds by name, in the order given."""
        return self._contexts[""].worlds

    @property
    def session_count(self) -> int:
        """Number of live sessions."""
        return len(self.table)

    @property
    def unused_s(self) -> float:
        """Seconds since a live session was last used; infinite without one."""
        return self.table.unused_s()

    @property
    def capacity(self) -> int:
        """Maximum number of live sessions."""
        return self.table.capacity

    @property
    def memory_bytes(self) -> int:
        """Memory for `capacity` sessions of the world with the largest state."""
        return self.capacity * max(slab_bytes(world.spec) for world in self.worlds.values())

    @property
    def memory_bounds(self) -> dict[str, float]:
        """The most bytes that clients can make it hold, by what they are for."""
        return memory_bounds((world.spec for world in self.worlds.values()), self._bounds)

    @property
    def ready(self) -> bool:
        """Whether the engine's thread runs, every graph is warm, and requests are accepted."""
        running = self._thread is not None and self._thread.is_alive()
        return running and self._stop_at_s is None

    @property
    def world_measures(self) -> dict[str, WorldMeasures]:
        """What was measured of each world's sessions, by name; worlds that were removed, too."""
        return self.table.measures.copy()

    @property
    def live(self) -> Counter[str]:
        """Number of live sessions by their worlds' names."""
        counts = Counter(dict.fromkeys(self.world_measures, 0))
        for slab in self.table.numbered.copy().values():
            counts[slab.world.name] += slab.count
        return counts

    @property
    def kept_bytes(self) -> int:
        """The most bytes that the rewind windows of all sessions take."""
        return self.table.kept_bytes

    @property
    def waiting(self) -> int:
        """Number of waiting requests."""
        return self._scheduler.waiting

    @property
    def jobs(self) -> int:
        """Number of plans, samples, batches and burn-ins in progress."""
        return len(self._scheduler.jobs)

    @property
    def idle(self) -> bool:
        """Whether no request waits, for its turn or for a store, and none is in progress."""
        return not (self._has_work or self._waiting_for_store)

    @property
    def _has_work(self) -> bool:
        return bool(self._scheduler.ready or self._scheduler.jobs)

    @property
    def _waiting_for_store(self) -> int:
        return 0 if self.gate is None else self.gate.waiting

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused."""
        return self.table.draining

    def drain(self) -> None:
        """Refuse new sessions from now on; existing ones are served."""
        self.table.draining = True

    @property
    def quotas(self) -> Mapping[str, Quota]:
        """The quotas by owner; owners without one are not restricted. May be replaced any time."""
        return self.table.quotas

    @quotas.setter
    def quotas(self, quotas: Mapping[str, Quota]) -> None:
        self.table.quotas = quotas

    def add_world(self, world: World) -> None:
        """Serve another world, from any thread; new sessions of its name are on this one.

        It is warmed up before any request can use it. A world of the same name serves the sessions
        that it has.
        """
        measured = calibrate([world], self._sizes, self._slice_ms)
        with self._turning:
            before = self.worlds.get(world.name)
            self.table.add(world)
            self.worlds[world.name] = world
            self._inline_rows = min(self._inline_rows, measured.inline_rows)
            self._contexts[""].latencies.update(measured.latencies)
            if before is not None:
                self.table.retire(before)

    def remove_world(self, name: str) -> None:
        """Take no new sessions of a world; it serves those that it has.

        Raises WorldNotFoundError, and InvalidRequestError for the only world.
        """
        with self._turning:
            world = self._contexts[""].world(name)
            if len(self.worlds) == 1:
                raise InvalidRequestError(f"{name} is the only world; load another one first")
            del self.worlds[name]
            self.table.retire(world)

    def observe(self, observe: Observe) -> None:
        """Call `observe` with each batch from now on, in the thread of its turn."""
        self._executor.observe = observe

    def check_room(self, check: CheckRoom) -> None:
        """Call `check` before long work begins, in the thread of its turn; it may refuse it."""
        self._executor.check_room = check

    def world_of(self, key: SessionKey) -> str | None:
        """Return the world of a session, None if there is none; to be called in a turn only."""
        return self.table.world_of(key)

    def attach(self, driver: Driver) -> None:
        """Let `driver` deliver the outcomes of all turns from now on."""
        self._driver = driver

    def submit(self, request: Request[R], owner: str = "") -> "concurrent.futures.Future[R]":
        """Queue a request of `owner`, from any thread, and return the future of its result.

        Cancelling the future cancels a waiting request; the outcome of one in progress is dropped.
        Raises OverloadedError when too many wait, DrainingError once stopping.
        """
        future: concurrent.futures.Future[R] = concurrent.futures.Future()
        self.queue(request, future, owner)
        self.wake()
        return future

    def queue(
        self, request: Request[Any], future: Future, owner: str = "", timeout_s: float = inf
    ) -> None:
        """Queue a request whose outcome completes `future`; the caller must ensure a turn.

        It is not begun once `timeout_s` have passed. Raises as `submit`.
        """
        key: SessionKey | None = getattr(request, "session_id", None)
        if owner and isinstance(key, str):
            key = key_of(owner, key)
        now_s = self._contexts[""].clock()
        queued = QueuedRequest(
            request, future, key, owner, time.perf_counter(), ask_of(request), now_s + timeout_s
        )
        with self._wake:
            if self._stop_at_s is not None:
                raise DrainingError("the server is shutting down")
            if (waiting := self._waiting_for_store) >= self._max_queue:
                raise OverloadedError(
                    f"{waiting} requests wait for the session store; try again later"
                )
            self._scheduler.add(queued, now_s)

    def requeue(self, requests: Sequence[QueuedRequest]) -> None:
        """Queue requests again, from any thread; those that cannot be queued get an error."""
        refused: list[Settled] = []
        with self._wake:
            for queued in requests:
                try:
                    if self._stop_at_s is not None:
                        raise DrainingError("the server is shutting down")
                    self._scheduler.put_back(queued)
                except ProblemError as error:
                    refused.append((queued, error))
            self._wake.notify()
        self.deliver(refused)

    def deliver(self, outcomes: list[Settled]) -> None:
        """Settle the futures of requests that waited for the store, from any thread."""
        self.measures.completed(time.perf_counter(), outcomes)
        self._driver.deliver(outcomes)

    def wake(self) -> None:
        """Wake the engine's thread, which runs turns until the engine is idle."""
        with self._wake:
            self._wake.notify()

    def turn(self) -> None:
        """Run one batch of waiting requests, then one slice of long work; deliver the outcomes.

        Turns never overlap: this waits while another thread runs one.
        """
        with self._turning:
            if failed := self._executor.arrive():
                self._driver.deliver(failed)
            with self._wake:
                batch, jobs = self._scheduler.next()
            if batch:
                self._driver.deliver(self._executor.run_batch(batch))
            if jobs:
                self._driver.deliver(self._executor.run_slice(jobs))

    def short_turn(self) -> list[Settled]:
        """Run a turn if that takes less time than a handover to the engine's thread.

        Return its outcomes, for the caller to deliver. Wake the engine's thread for other work.
        """
        scheduler, settled = self._scheduler, list[Settled]()
        short = scheduler.waiting <= self._inline_rows and not scheduler.jobs
        if short and self._turning.acquire(blocking=False):
            try:
                with self._wake:
                    batch, _ = scheduler.next()
                if batch:
                    settled = self._executor.run_batch(batch)
            finally:
                self._turning.release()
        if scheduler.ready or scheduler.jobs:  # `_has_work`, inlined on the path of every step
            self.wake()
        return settled

    def start(self) -> None:
        """Warm every graph at every batch size, then start the engine's thread.

        Raises DrainingError once stopping.
        """
        self.warm()
        self._thread = threading.Thread(target=self._run, name="dreamserve-engine", daemon=True)
        self._thread.start()

    def warm(self) -> None:
        """Run every graph at every batch size, so that no request waits for warm-up."""
        measured = calibrate(self.worlds.values(), self._sizes, self._slice_ms, self._check_going)
        self._inline_rows = measured.inline_rows
        self._contexts.update_all(
            slice_rows=self._slice_rows or measured.slice_rows, latencies=measured.latencies
        )

    def _check_going(self) -> None:
        if self._stop_at_s is not None:
            raise DrainingError("the server is shutting down")

    def stop(self, deadline_s: float = 10.0) -> None:
        """Refuse new requests, finish waiting ones within `deadline_s`, end the thread.

        The futures of unfinished requests get DrainingError.
        """
        with self._wake:
            self._stop_at_s = time.monotonic() + deadline_s
            self._wake.notify_all()
        if self._thread is None:
            self._run()
        else:
            self._thread.join(deadline_s + 5.0)

    def _run(self) -> None:
        while not self._finished():
            with self._wake:
                self._wake.wait_for(self._awake, None if self._stop_at_s is None else STOP_POLL_S)
            self.turn()
        with self._wake:
            waiting, jobs = self._scheduler.empty()
        if self.gate is not None:
            waiting += self.gate.lookups.empty()
        refused = DrainingError("the server is shutting down; the request was not completed")
        self._driver.deliver([(queued, refused) for queued in (*waiting, *jobs)])
        if self.gate is not None:
            self.gate.stop(STORE_DEADLINE_S)

    def _awake(self) -> bool:
        if self._has_work:
            return True
        if self.gate is not None and self.gate.waiting:
            return self.gate.lookups.has_arrivals
        return self._stop_at_s is not None

    def _finished(self) -> bool:
        with self._wake:
            if self._stop_at_s is None:
                return False
            return self.idle or time.monotonic() > self._stop_at_s
