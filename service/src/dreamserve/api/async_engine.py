"""The event loop's way to the engine: short turns it takes itself, long ones it leaves to a thread.

A handover between threads costs more than a small batch on a CPU. So what came in during one round
of the loop is computed in its next, and only long work, large batches and devices that are waited
for go to the engine's own thread.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar

from dreamserve.engine.engine import Engine
from dreamserve.engine.limits import Limits
from dreamserve.engine.scheduling.queued import Settled, settle
from dreamserve.engine.world import World
from dreamserve.settings import Settings
from dreamserve_protocol.markers import Request

# Most results come sooner than this; only for the others is the caller watched for leaving.
UNWATCHED_S = 0.05

R = TypeVar("R")
Leaves = Callable[[], Awaitable[None]]  # ends once the caller has gone away
Waiting = asyncio.Future[Any]


class CallerGoneError(Exception):
    """The caller has gone away: nobody waits for the result."""


class AsyncEngine:
    """Drives `engine` from the event loop that this is made in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._due = False  # whether the loop's next round has a turn
        self._alone = False  # whether the last turn had one request only: none to wait for
        self._waiting = 0
        self._callers: dict[Waiting, Leaves | None] = {}  # None: watched by now
        self._watching = False
        engine.attach(self)

    def queue(self, request: Request[R]) -> "asyncio.Future[R]":
        """Queue a request, and return the future that its outcome ends.

        Cancelling the future takes a waiting request back. Raises OverloadedError, DrainingError.
        """
        future: asyncio.Future[R] = self._loop.create_future()
        self._engine.queue(request, future)
        self._waiting += 1
        if not self._due:
            self._due = True
            if self._alone:
                self._loop.call_soon(self._turn)
            else:
                # Not this round of the loop but the one after: who is being read now comes along,
                # and batches of twice the size are worth more than the wait.
                self._loop.call_soon(self._loop.call_soon, self._turn)
        return future

    async def ask(self, request: Request[R], leaves: Leaves) -> R:
        """Return a request's result, or raise its error.

        A request whose caller leaves first is taken back. Raises OverloadedError, DrainingError,
        and CallerGoneError once the caller has left.
        """
        future = self.queue(request)
        self._callers[future] = leaves
        if not self._watching:
            self._watching = True
            self._loop.call_later(UNWATCHED_S, self._watch, ())
        try:
            return await future
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise CallerGoneError from None
        finally:
            del self._callers[future]
            future.cancel()

    def deliver(self, outcomes: list[Settled]) -> None:
        """End the futures of a turn, in the event loop's thread."""
        if threading.get_ident() == self._thread_id:
            settle(outcomes)
        elif outcomes:
            self._loop.call_soon_threadsafe(settle, outcomes)

    def _turn(self) -> None:
        self._due, self._alone, self._waiting = False, self._waiting == 1, 0
        settle(self._engine.short_turn())

    def _watch(self, waited: Iterable[Waiting]) -> None:
        """Watch the callers of those who `waited` last time already; look again after a while."""
        for future in waited:
            leaves = self._callers.get(future)
            if leaves is not None:
                self._callers[future] = None
                watching = self._loop.create_task(_cancel_when_gone(leaves, future))
                future.add_done_callback(partial(_stop, watching))
        self._watching = bool(self._callers)
        if self._watching:
            unwatched = [future for future, leaves in self._callers.items() if leaves]
            self._loop.call_later(UNWATCHED_S, self._watch, unwatched)


class Service:
    """The engine behind the doors."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.failure: Exception | None = None  # why the engine could not start

    @cached_property
    def async_engine(self) -> AsyncEngine:
        """The engine as seen by the event loop that first asks."""
        return AsyncEngine(self.engine)


def engine_of(worlds: Sequence[World], settings: Settings) -> Engine:
    """Return an engine over `worlds` as the settings ask for."""
    limits = Limits(
        rows=settings.max_rows,
        forks=settings.max_forks,
        rewind_window=settings.max_rewind,
        frames=settings.max_frames,
        dreamt_steps=settings.max_dreamt_steps,
        mixture_bytes=settings.max_mixture_bytes,
    )
    return Engine(
        worlds,
        capacity=settings.capacity,
        session_ttl_s=settings.session_ttl_s,
        max_queue=settings.max_queue,
        max_batch=settings.max_batch,
        max_jobs=settings.max_jobs,
        max_kept_steps=settings.max_kept_steps,
        slice_ms=settings.slice_ms,
        limits=limits,
    )


def _stop(task: asyncio.Task[None], _: Waiting) -> None:
    task.cancel()


async def _cancel_when_gone(leaves: Leaves, future: Waiting) -> None:
    await leaves()
    future.cancel()
