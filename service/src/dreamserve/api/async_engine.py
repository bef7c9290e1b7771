"""Asyncio access to the engine: the event loop runs short turns itself, a thread the long ones.

A handover between threads costs more than a small batch on a CPU. So the event loop computes
requests in the iteration after they arrived; only long work, large batches and device backends use
the engine's thread.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from math import inf
from typing import Any, TypeVar

from dreamserve.api.bodies import CallerGoneError
from dreamserve.api.connections import Connections
from dreamserve.api.elements import Most
from dreamserve.api.refusals import Refusals
from dreamserve.engine.engine import Engine
from dreamserve.engine.limits import Limits
from dreamserve.engine.scheduling.queued import Future, Settled, settle
from dreamserve.engine.world import World
from dreamserve.settings import Settings
from dreamserve_protocol.errors import (
    DrainingError,
    NotReadyError,
    OverloadedError,
    ProblemError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.sessions import DeleteRequest

# Most results are ready sooner. The callers of other requests are watched for a disconnect.
UNWATCHED_S = 0.05
END_TRIES, END_PAUSE_S = 100, 0.05
CODEC_THREADS = 2  # that decode large bodies and encode large results

R = TypeVar("R")
Disconnected = Callable[[], Awaitable[None]]  # returns once the caller has disconnected
Waiting = asyncio.Future[Any]


class AsyncEngine:
    """Drives `engine` from the event loop in which it is created."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._scheduled = False  # whether a turn is scheduled
        self._was_single = False  # whether the last turn had a single request
        self._waiting = 0  # requests for the next turn
        self._callers: dict[Waiting, Disconnected | None] = {}  # None: already watched
        self._watching = False
        self.refusals = Refusals(self._loop.time)
        engine.attach(self)

    def queue(self, request: Request[Any], future: Future, timeout_s: float = inf) -> None:
        """Queue a request; `future` gets its outcome in the event loop's thread.

        Cancelling the future cancels a waiting request. Raises OverloadedError, DrainingError.
        """
        self._engine.queue(request, future, timeout_s)
        self._waiting += 1
        if not self._scheduled:
            self._scheduled = True
            if self._was_single:
                self._loop.call_soon(self._turn)
            else:
                # Not in the next iteration of the loop but in the one after, to include requests
                # that are being read now: batches of twice the size are worth the wait.
                self._loop.call_soon(self._loop.call_soon, self._turn)

    async def send(
        self, request: Request[R], disconnected: Disconnected, timeout_s: float = inf
    ) -> R:
        """Return a request's result, or raise its error.

        If the caller disconnects first, the request is cancelled. Raises DeadlinePassedError after
        `timeout_s`, OverloadedError at the pace of `refusals`, DrainingError, and CallerGoneError
        after a disconnect.
        """
        try:
            return await self._send(request, disconnected, timeout_s)
        except OverloadedError:
            if delay_s := self.refusals.delay_s():
                await asyncio.sleep(delay_s)
            raise

    async def _send(self, request: Request[R], disconnected: Disconnected, timeout_s: float) -> R:
        future: asyncio.Future[R] = self._loop.create_future()
        self.queue(request, future, timeout_s)
        self._callers[future] = disconnected
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

    async def end(self, session_id: str) -> None:
        """End a session, which may be gone, on behalf of a caller that has left or is answered.

        While the queue is full, it is tried again, END_TRIES times in all.
        """
        for _ in range(END_TRIES):
            try:
                await self.send(DeleteRequest(session_id), never)
            except OverloadedError:
                await asyncio.sleep(END_PAUSE_S)
            except ProblemError:
                return  # gone, or the server stops
            else:
                return

    def deliver(self, outcomes: list[Settled]) -> None:
        """Complete the futures of a turn, in the event loop's thread."""
        if threading.get_ident() == self._thread_id:
            settle(outcomes)
        elif outcomes:
            self._loop.call_soon_threadsafe(settle, outcomes)

    def _turn(self) -> None:
        self._scheduled, self._was_single, self._waiting = False, self._waiting == 1, 0
        settle(self._engine.short_turn())

    def _watch(self, waited: Iterable[Waiting]) -> None:
        """Watch the callers of requests that waited at the last check; schedule the next check."""
        for future in waited:
            disconnected = self._callers.get(future)
            if disconnected is not None:
                self._callers[future] = None
                watching = self._loop.create_task(_cancel_when_gone(disconnected, future))
                future.add_done_callback(partial(_stop, watching))
        self._watching = bool(self._callers)
        if self._watching:
            unwatched = [future for future, disconnected in self._callers.items() if disconnected]
            self._loop.call_later(UNWATCHED_S, self._watch, unwatched)


class Service:
    """The engine and its settings, as the transports use them."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.connections = Connections(settings)
        self.most = Most(settings.max_elements, settings.max_lists)  # of a body
        self._aside = ThreadPoolExecutor(CODEC_THREADS, "dreamserve-codec")
        self.failure: Exception | None = None  # why the engine could not start

    @cached_property
    def async_engine(self) -> AsyncEngine:
        """Access to the engine from the event loop that uses it first."""
        return AsyncEngine(self.engine)

    async def aside(self, function: Callable[[], R]) -> R:
        """Run a function in one of few threads, so that few large bodies are decoded at once."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, function)

    def close(self) -> None:
        """End the threads, once no request is in progress."""
        self._aside.shutdown(wait=False, cancel_futures=True)

    def check_ready(self) -> None:
        """Raise DrainingError or NotReadyError unless new sessions are accepted."""
        if self.engine.draining:
            raise DrainingError("the server is shutting down")
        if not self.engine.ready:
            raise NotReadyError("the engine is not running: it is warming up, or failed to start")


def engine_of(worlds: Sequence[World], settings: Settings) -> Engine:
    """Return an engine for `worlds`, configured by the settings."""
    limits = Limits(
        rows=settings.max_rows,
        forks=settings.max_forks,
        rewind_window=settings.max_rewind,
        frames=settings.max_frames,
        dreamt_steps=settings.max_dreamt_steps,
        plan_steps=settings.max_plan_steps,
        mixture_bytes=settings.max_mixture_bytes,
        job_bytes=settings.max_job_bytes,
    )
    return Engine(
        worlds,
        capacity=settings.capacity,
        session_ttl_s=settings.session_ttl_s,
        max_queue=settings.max_queue,
        max_batch=settings.max_batch,
        max_jobs=settings.max_jobs,
        max_wait_s=settings.max_wait_s,
        max_kept_steps=settings.max_kept_steps,
        max_plan_bytes=settings.max_plan_bytes,
        slice_ms=settings.slice_ms,
        limits=limits,
    )


def _stop(task: asyncio.Task[None], _: Waiting) -> None:
    task.cancel()


async def never() -> None:
    """Never end."""
    await asyncio.Event().wait()


async def _cancel_when_gone(disconnected: Disconnected, future: Waiting) -> None:
    await disconnected()
    future.cancel()
