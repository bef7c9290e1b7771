"""Asyncio access to the engine: the event loop runs short turns itself, a thread the long ones.

A handover between threads costs more than a small batch on a CPU. So the event loop computes
requests in the iteration after they arrived; only long work, large batches and device backends use
the engine's thread.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from math import inf
from typing import Any, TypeVar

from dreamserve.api.access.callers import Access, Caller
from dreamserve.api.bodies import CallerGoneError
from dreamserve.api.codec import ARRAY_RESULTS
from dreamserve.api.connections import Connections
from dreamserve.api.elements import Most
from dreamserve.api.png import PngReader
from dreamserve.api.problems import Problems
from dreamserve.api.refusals import Refusals
from dreamserve.api.world_changes import WorldChanges
from dreamserve.engine.durability.gate import Durability
from dreamserve.engine.engine import Engine
from dreamserve.engine.limits import Limits
from dreamserve.engine.scheduling.queued import Future, Settled, settle
from dreamserve.engine.world import World
from dreamserve.observations import FrameSpec
from dreamserve.settings import Settings
from dreamserve.store.base import Retention, Store
from dreamserve.store.choose import open_store
from dreamserve_protocol.errors import (
    DrainingError,
    NotReadyError,
    OverloadedError,
    ProblemError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.sessions import DeleteRequest
from dreamserve_protocol.verbs import VERBS
from dreamserve_protocol.worlds import LoadWorldRequest, UnloadWorldRequest

# Most results are ready sooner. The callers of other requests are watched for a disconnect.
UNWATCHED_S = 0.05
END_TRIES, END_PAUSE_S = 100, 0.05
CODEC_THREADS = 2  # that decode large bodies and encode large results

_LARGE = frozenset(verb.request for verb in VERBS if verb.result in ARRAY_RESULTS)

R = TypeVar("R")
Disconnected = Callable[[], Awaitable[None]]  # returns once the caller has disconnected
Waiting = asyncio.Future[Any]
Outside = Mapping[type[Request[Any]], Callable[[Any], Any]]


class AsyncEngine:
    """Drives `engine` from the event loop in which it is created.

    `outside` has functions for the requests that the engine does not run in its turns, by type.
    """

    def __init__(self, engine: Engine, outside: Outside | None = None) -> None:
        self._engine, self._outside = engine, outside or {}
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._scheduled = False  # whether a turn is scheduled
        self._was_single = False  # whether the last turn had a single request
        self._waiting = 0  # requests for the next turn
        self._callers: dict[Waiting, Disconnected | None] = {}  # None: already watched
        self._watching = False
        self.refusals = Refusals(self._loop.time)
        engine.attach(self)

    def queue(
        self, request: Request[Any], future: Future, caller: Caller, timeout_s: float = inf
    ) -> None:
        """Queue a caller's request; `future` gets its outcome in the event loop's thread.

        Cancelling the future cancels a waiting request. Raises ForbiddenError, OverloadedError,
        DrainingError.
        """
        caller.check_may(request)
        if type(request) in self._outside:
            self._run_outside(request, future)
            return
        self._engine.queue(request, future, caller.owner, timeout_s)
        self._waiting += 1
        if not self._scheduled:
            self._scheduled = True
            if self._was_single:
                self._loop.call_soon(self._turn)
            else:
                # Not in the next iteration of the loop but in the one after, to include requests
                # that are being read now: batches of twice the size are worth the wait.
                self._loop.call_soon(self._loop.call_soon, self._turn)

    def _run_outside(self, request: Request[Any], future: Future) -> None:
        """Run a request that no turn of the engine can, in a thread."""
        running = self._loop.run_in_executor(None, self._outside[type(request)], request)

        def finished(done: asyncio.Future[Any]) -> None:
            if future.done():
                return
            if (error := done.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())

        running.add_done_callback(finished)

    async def send(
        self,
        request: Request[R],
        disconnected: Disconnected,
        caller: Caller,
        timeout_s: float = inf,
    ) -> R:
        """Return the result of a caller's request, or raise its error.

        If the caller disconnects first, the request is cancelled. Raises DeadlinePassedError after
        `timeout_s`, OverloadedError at the pace of `refusals`, other errors as `queue`, and
        CallerGoneError after a disconnect.
        """
        try:
            return await self._send(request, disconnected, caller, timeout_s)
        except OverloadedError as error:
            if delay_s := self.refusals.delay_s(caller.owner, request, error):
                await asyncio.sleep(delay_s)
            raise

    async def _send(
        self, request: Request[R], disconnected: Disconnected, caller: Caller, timeout_s: float
    ) -> R:
        future: asyncio.Future[R] = self._loop.create_future()
        self.queue(request, future, caller, timeout_s)
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

    async def end(self, session_id: str, caller: Caller) -> None:
        """End a session, which may be gone, of a caller that has left or has its response.

        While the queue is full, it is tried again, END_TRIES times in all.
        """
        for _ in range(END_TRIES):
            try:
                await self.send(DeleteRequest(session_id), never, caller)
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
    """The engine and its settings, as the transports use them.

    Raises SettingsError for API keys that cannot be read.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.access = Access(settings)
        self.set_quotas()
        self.connections = Connections(settings)
        self.most = Most(settings.max_elements, settings.max_lists)  # of a body
        engine.check_room(self.check_room)
        self._aside = ThreadPoolExecutor(CODEC_THREADS, "dreamserve-codec")
        self.failure: Exception | None = None  # why the engine could not start
        self.problems = Problems()
        self.make_engine: Callable[[Engine, Outside], AsyncEngine] = AsyncEngine
        self.open_sockets = Counter({"stream": 0, "openenv": 0})

    @cached_property
    def async_engine(self) -> AsyncEngine:
        """Access to the engine from the event loop that uses it first."""
        changes = WorldChanges(self.engine, self.settings, self._worlds_changed)
        outside: Outside = {LoadWorldRequest: changes.load, UnloadWorldRequest: changes.unload}
        return self.make_engine(self.engine, outside)

    @cached_property
    def png(self) -> PngReader:
        """What makes requests of bodies that may hold PNG files."""
        return PngReader(self._frames(), self.settings, self.aside)

    def _frames(self) -> list[FrameSpec]:
        return [world.spec.frame for world in list(self.engine.worlds.values())]

    def _worlds_changed(self) -> None:
        self.png.measure(self._frames())

    def set_quotas(self) -> None:
        """Tell the engine the quotas of the API keys."""
        self.engine.quotas = self.access.keys.quotas if self.access.keys else {}

    def check_room(self, request: Request[Any]) -> None:
        """Raise OverloadedError if the request's result may be large, and there is no room for it.

        Any thread may call it.
        """
        if type(request) in _LARGE:
            self.connections.check_room()

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
    """Return an engine for `worlds`, configured by the settings.

    Raises SettingsError if the session store cannot be opened.
    """
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
    store, strict = store_of(settings), settings.durability == "strict"
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
        durability=None if store is None else Durability(store, strict, settings.store_timeout_s),
    )


def store_of(settings: Settings) -> Store | None:
    """Return the session store; None for memory. Raises SettingsError if it cannot be opened."""
    return open_store(
        settings.store,
        Retention(ttl_s=settings.session_ttl_s, remembered_s=settings.session_ttl_s),
        timeout_s=settings.store_timeout_s,
        strict=settings.durability == "strict",
    )


def _stop(task: asyncio.Task[None], _: Waiting) -> None:
    task.cancel()


async def never() -> None:
    """Never end."""
    await asyncio.Event().wait()


async def _cancel_when_gone(disconnected: Disconnected, future: Waiting) -> None:
    await disconnected()
    future.cancel()
