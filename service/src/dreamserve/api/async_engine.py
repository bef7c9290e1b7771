"""Asyncio access to the engine: the event loop runs short turns itself, a thread the long ones.

A handover between threads costs more than a small batch on a CPU. So the event loop computes
requests in the iteration after they arrived; only long work, large batches and device backends use
the engine's thread.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from math import inf
from typing import Any, Protocol, TypeVar

from dreamserve.api.access.callers import Caller
from dreamserve.api.bodies import CallerGoneError
from dreamserve.api.refusals import Refusals
from dreamserve.engine.durability.stalls import BEAT_S, Stalls
from dreamserve.engine.measures import Measures
from dreamserve.engine.queue import RequestQueue
from dreamserve.engine.scheduling.driver import Driver
from dreamserve.engine.scheduling.queued import Future, Settled, settle
from dreamserve_protocol.errors import NotReadyError, OverloadedError, ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.sessions import DeleteRequest

# Most results are ready sooner. The callers of other requests are watched for a disconnect.
UNWATCHED_S = 0.05
END_TRIES, END_PAUSE_S = 100, 0.05

R = TypeVar("R")
Disconnected = Callable[[], Awaitable[None]]  # returns once the caller has disconnected
Waiting = asyncio.Future[Any]
Outside = Mapping[type[Request[Any]], Callable[[Any], Any]]


class Turns(Protocol):
    """What an event loop needs of an engine (`engine.Engine`)."""

    @property
    def queue(self) -> RequestQueue:
        """Takes requests."""
        ...

    @property
    def measures(self) -> Measures:
        """Counts requests."""
        ...

    def attach(self, driver: Driver, /) -> None:
        """Let `driver` deliver the outcomes of all turns from now on."""
        ...

    def short_turn(self) -> list[Settled]:
        """Run a turn that takes little time, and return its outcomes."""
        ...


class AsyncEngine:
    """Drives `engine` from the event loop in which it is created.

    `outside` has functions for the requests that the engine does not run in its turns, by type.
    """

    def __init__(self, engine: Turns, outside: Outside | None = None) -> None:
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
        if (stalls := engine.queue.stalls) is not None:
            stalls.start()
            self._beat(stalls)

    def queue(
        self, request: Request[Any], future: Future, caller: Caller, timeout_s: float = inf
    ) -> None:
        """Queue a caller's request; `future` gets its outcome in the event loop's thread.

        Cancelling the future cancels a waiting request. Raises ForbiddenError, TooLargeError,
        OverloadedError, DrainingError, NotReadyError.
        """
        caller.check_may(request)
        if type(request) in self._outside:
            self._run_outside(request, future)
            return
        self._engine.queue.add(request, future, caller.owner, timeout_s)
        self._waiting += 1
        if not self._scheduled:
            self._scheduled = True
            if self._was_single:
                self._loop.call_soon(self._turn)
            else:
                # Not in the next iteration of the loop but in the one after, to include requests
                # that are being read now: batches of twice the size are worth the wait.
                self._loop.call_soon(self._loop.call_soon, self._turn)

    def _beat(self, stalls: Stalls) -> None:
        stalls.beat()
        self._loop.call_later(BEAT_S, self._beat, stalls)

    def _run_outside(self, request: Request[Any], future: Future) -> None:
        """Run a request that no turn of the engine can, in a thread; count it like the others."""
        began_s = self._loop.time()
        running = self._loop.run_in_executor(None, self._outside[type(request)], request)

        def finished(done: asyncio.Future[Any]) -> None:
            error = done.exception()
            if error is None:
                took_s = self._loop.time() - began_s
                self._engine.measures.completed_one(type(request), took_s)
            if future.done():
                return
            if error is not None:
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
        """End a session, which may be gone, of a caller that has left or has its response."""
        await self.insist(DeleteRequest(session_id), caller)

    async def insist(self, request: Request[Any], caller: Caller) -> bool:
        """Run a request for a caller that does not wait for it; return whether it succeeded.

        While the queue is full, or just after the server has hung, it is tried again, END_TRIES
        times in all.
        """
        for _ in range(END_TRIES):
            try:
                await self.send(request, never, caller)
            except (OverloadedError, NotReadyError):
                await asyncio.sleep(END_PAUSE_S)
            except ProblemError:
                return False  # the session is gone, say, or the server stops
            else:
                return True
        return False

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


def _stop(task: asyncio.Task[None], _: Waiting) -> None:
    task.cancel()


async def never() -> None:
    """Never end."""
    await asyncio.Event().wait()


async def _cancel_when_gone(disconnected: Disconnected, future: Waiting) -> None:
    await disconnected()
    future.cancel()
