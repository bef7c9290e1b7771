"""The event loop's way to the engine: short turns it takes itself, long ones it leaves to a thread.

A handover between threads costs more than a small batch on a CPU. So what came in during one round
of the loop is computed in its next, and only long work, large batches and devices that are waited
for go to the engine's own thread.
"""

import asyncio
import threading
from collections.abc import Iterable
from functools import partial

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from dreamserve.engine.loop import Engine
from dreamserve.engine.scheduling.queued import Answered, settle
from dreamserve.engine.types import Request, Result

# Most answers come sooner than this; only for the others is the client watched for leaving.
UNWATCHED_S = 0.05

Answer = asyncio.Future[Result]


class Turns:
    """Asks `engine` on behalf of the event loop that this is made in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._due = False  # whether the loop's next round has a turn
        self._alone = False  # whether the last turn had one request only: none to wait for
        self._clients: dict[Answer, Receive | None] = {}  # None: watched by now
        self._watching = False
        engine.deliver = self._deliver

    async def ask(self, request: Request, receive: Receive) -> Result:
        """Return the engine's answer, or raise its error; `receive` is the client's ASGI channel.

        A client that leaves before it comes takes its question back. Raises OverloadedError,
        DrainingError, and ClientDisconnect once the client has left.
        """
        answer: Answer = self._loop.create_future()
        self._engine.queue(request, answer)
        if not self._due:
            self._due = True
            if self._alone:
                self._loop.call_soon(self._turn)
            else:
                # Not this round of the loop but the one after: who is being read now comes along,
                # and batches of twice the size are worth more than the wait.
                self._loop.call_soon(self._loop.call_soon, self._turn)
        self._clients[answer] = receive
        if not self._watching:
            self._watching = True
            self._loop.call_later(UNWATCHED_S, self._watch, ())
        try:
            return await answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ClientDisconnect from None
        finally:
            del self._clients[answer]
            answer.cancel()

    def _turn(self) -> None:
        self._due, self._alone = False, len(self._clients) == 1
        if self._engine.is_short:
            self._engine.turn(blocking=False)
        if not self._engine.idle:
            self._engine.wake()

    def _deliver(self, answered: list[Answered]) -> None:
        if threading.get_ident() == self._thread_id:
            settle(answered)
        elif answered:
            self._loop.call_soon_threadsafe(settle, answered)

    def _watch(self, waited: Iterable[Answer]) -> None:
        """Watch the clients of those who `waited` last time already; look again after a while."""
        for answer in waited:
            receive = self._clients.get(answer)
            if receive is not None:
                self._clients[answer] = None
                watching = self._loop.create_task(_cancel_when_gone(receive, answer))
                answer.add_done_callback(partial(_stop, watching))
        self._watching = bool(self._clients)
        if self._watching:
            unwatched = [answer for answer, receive in self._clients.items() if receive]
            self._loop.call_later(UNWATCHED_S, self._watch, unwatched)


def _stop(task: asyncio.Task[None], _: Answer) -> None:
    task.cancel()


async def _cancel_when_gone(receive: Receive, answer: Answer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answer.cancel()
