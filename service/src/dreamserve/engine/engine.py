"""The engine: queues requests from any thread, and computes them in turns, in batches.

While one batch is computed, requests queue for the next: batches form under load, without a timer.
Each request gets exactly one outcome.
"""

import concurrent.futures
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from dreamserve.engine.dispatcher import respond
from dreamserve.engine.durability.gate import Durability, Gate
from dreamserve.engine.executor import CheckRoom, Executor, Observe
from dreamserve.engine.handlers.base import Contexts
from dreamserve.engine.limits import Quota
from dreamserve.engine.measures import Measures
from dreamserve.engine.options import EngineOptions
from dreamserve.engine.queue import RequestQueue
from dreamserve.engine.runner import Runner
from dreamserve.engine.scheduling.calibration import UNMEASURED_SLICE_ROWS, batch_sizes
from dreamserve.engine.scheduling.driver import Driver, InlineDriver
from dreamserve.engine.scheduling.queued import QueuedRequest, Settled
from dreamserve.engine.served import ServedWorlds
from dreamserve.engine.sessions.keys import SessionKey
from dreamserve.engine.sessions.ledger import Ledger
from dreamserve.engine.sessions.table import SessionTable
from dreamserve.engine.usage import Usage
from dreamserve.engine.world import World, worlds_by_name
from dreamserve_protocol.markers import Request

R = TypeVar("R")


class Engine:
    """Sessions on `worlds`, advanced in batches; `options` or single ones of them say how many.

    Either call `start()`, which runs a thread until `stop()`, or call `turn()` from one thread of
    your own. An event loop may combine both: it runs short turns itself, the thread long ones.

    Requests must have been validated (`dreamserve.validation`): the engine only checks them against
    the world.

    A request has an owner, "" without authentication. A session belongs to the owner of the request
    that began it; for the requests of any other owner it does not exist. `quotas` bound what an
    owner may have at once.

    `queue` takes requests, `served` changes the worlds, and `usage` and `measures` are for metrics.
    """

    def __init__(
        self,
        worlds: Sequence[World],
        options: EngineOptions | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        durability: Durability | None = None,
        **changed: Any,
    ) -> None:
        options = replace(options or EngineOptions(), **changed)
        by_name = worlds_by_name(worlds)
        stalls = None if durability is None else durability.stalls
        ledger = None if durability is None else Ledger(is_shared=stalls is not None)
        self.table = _session_table(by_name, options, clock, ledger)
        self._contexts = Contexts(
            by_name,
            self.table,
            options.limits,
            clock,
            slice_rows=options.slice_rows or UNMEASURED_SLICE_ROWS,
            batch_rows=options.max_batch,
        )
        self.gate: Gate | None = None  # None without a store
        if durability is not None and ledger is not None:
            self.gate = Gate(durability, self.table, ledger, self)
        self.queue = RequestQueue(options, clock, self._held, stalls)
        self.measures = Measures()
        self._executor = Executor(respond, self._contexts, self.queue, self.measures, self.gate)
        self._turning = threading.Lock()  # held during a turn; its holder owns all other state
        self.served = ServedWorlds(self._contexts, options, self._turning)
        self.usage = Usage(self.table, self.queue.scheduler, options)
        self._driver: Driver = InlineDriver()
        self._runner = Runner(self.turn, self._settle, self.queue, self.gate)

    def _held(self) -> int:
        return 0 if self.gate is None else self.gate.waiting

    @property
    def worlds(self) -> dict[str, World]:
        """The worlds by name, in the order given."""
        return self.served.by_name

    @property
    def session_count(self) -> int:
        """Number of live sessions."""
        return len(self.table)

    @property
    def unused_s(self) -> float:
        """Seconds since a live session was last used; infinite without one."""
        return self.table.unused_s()

    @property
    def ready(self) -> bool:
        """Whether the engine's thread runs, every graph is warm, and requests are accepted."""
        return self._runner.is_alive and self.queue.closes_at_s is None

    @property
    def has_failed(self) -> bool:
        """Whether the engine's thread has ended by an error: only another process will serve."""
        return self._runner.has_failed

    @property
    def unrecorded(self) -> int:
        """Sessions whose answered changes the store has not confirmed; known once stopped."""
        return 0 if self.gate is None else self.gate.committer.unrecorded

    @property
    def idle(self) -> bool:
        """Whether no request waits, for its turn or for a store, and none is in progress."""
        return self.queue.idle

    @property
    def draining(self) -> bool:
        """Whether the server is shutting down."""
        return self.table.draining

    def drain(self) -> None:
        """Refuse new sessions from now on, unless other servers can continue them.

        Existing ones are served.
        """
        self.table.draining = True

    @property
    def quotas(self) -> Mapping[str, Quota]:
        """The quotas by owner; owners without one are not restricted. May be replaced any time."""
        return self.table.quotas

    @quotas.setter
    def quotas(self, quotas: Mapping[str, Quota]) -> None:
        self.table.quotas = quotas

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
        Raises as `RequestQueue.add`.
        """
        future: concurrent.futures.Future[R] = concurrent.futures.Future()
        self.queue.add(request, future, owner)
        self.queue.wake()
        return future

    def turn(self) -> None:
        """Run one batch of waiting requests, then one slice of long work; deliver the outcomes.

        Turns never overlap: this waits while another thread runs one. Raises what interrupted the
        work, such as KeyboardInterrupt, once all requests that it was done for have an error.
        """
        with self._turning:
            if failed := self._executor.arrive():
                self._driver.deliver(failed)
            with self.queue.lock:
                batch, jobs = self.queue.scheduler.next()
            if batch:
                self._driver.deliver(self._executor.run_batch(batch))
                self._executor.raise_interrupt()
            if jobs:
                self._driver.deliver(self._executor.run_slice(jobs))
                self._executor.raise_interrupt()

    def short_turn(self) -> list[Settled]:
        """Run a turn if that takes less time than a handover to the engine's thread.

        Return its outcomes, for the caller to deliver. Wake the engine's thread for other work.
        """
        queue, settled = self.queue, list[Settled]()
        scheduler = queue.scheduler
        short = scheduler.waiting <= self.served.inline_rows and not scheduler.jobs
        if short and self._turning.acquire(blocking=False):
            try:
                with queue.lock:
                    batch, _ = scheduler.next()
                if batch:
                    settled = self._executor.run_batch(batch)
                if self._executor.interrupt is not None:
                    self._driver.deliver(settled)
                    self._executor.raise_interrupt()
            finally:
                self._turning.release()
        if scheduler.ready or scheduler.jobs:  # `has_work`, inlined on the path of every step
            queue.wake()
        return settled

    def requeue(self, requests: Sequence[QueuedRequest]) -> None:
        """Queue requests again, from any thread; those that cannot be queued get an error."""
        self.deliver(self.queue.put_back(requests))

    def deliver(self, outcomes: list[Settled]) -> None:
        """Settle the futures of requests that waited for the store, from any thread."""
        self.measures.completed(time.perf_counter(), outcomes)
        self._driver.deliver(outcomes)

    def wake(self) -> None:
        """Wake the engine's thread, which runs turns until the engine is idle."""
        self.queue.wake()

    def _settle(self, outcomes: list[Settled]) -> None:
        self._driver.deliver(outcomes)

    def start(self) -> None:
        """Warm every graph at every batch size, then start the engine's thread.

        Raises DrainingError once stopping.
        """
        self.warm()
        self._runner.start()

    def warm(self) -> None:
        """Run every graph at every batch size, so that no request waits for warm-up."""
        self.served.warm(self.queue.check_open)

    def stop(self, deadline_s: float = 10.0) -> None:
        """Refuse new requests, finish waiting ones within `deadline_s`, end the thread.

        The futures of unfinished requests get DrainingError.
        """
        self._runner.stop(deadline_s)


def _session_table(
    worlds: dict[str, World],
    options: EngineOptions,
    clock: Callable[[], float],
    ledger: Ledger | None,
) -> SessionTable:
    return SessionTable(
        worlds,
        options.capacity,
        options.session_ttl_s,
        batch_sizes(options.max_batch),
        options.max_kept_bytes,
        clock,
        ledger,
        options.max_plan_bytes,
    )
