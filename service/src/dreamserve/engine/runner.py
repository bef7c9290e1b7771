"""The engine's thread: runs turns while there is work, from its start until everything is done."""

import logging
import threading
from collections.abc import Callable

from dreamserve.engine.durability.gate import Gate
from dreamserve.engine.queue import RequestQueue
from dreamserve.engine.scheduling.queued import Settled
from dreamserve_protocol.errors import DrainingError

log = logging.getLogger("dreamserve.engine")

STOP_POLL_S = 0.05  # while stopping, to look whether the store has confirmed everything
STORE_DEADLINE_S = 5.0  # for the store to record what is queued when the engine stops
JOIN_S = STORE_DEADLINE_S + 1.0  # for the thread to end, beyond the deadline of its requests


class Runner:
    """Calls `turn` in a thread; `deliver` gets the errors of what is not finished at the end."""

    def __init__(
        self,
        turn: Callable[[], None],
        deliver: Callable[[list[Settled]], None],
        queue: RequestQueue,
        gate: Gate | None,
    ) -> None:
        self._turn, self._deliver, self._queue, self._gate = turn, deliver, queue, gate
        self._thread: threading.Thread | None = None
        self.has_failed = False  # whether the thread has ended by an error; the process is useless

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="dreamserve-engine", daemon=True)
        self._thread.start()

    def stop(self, deadline_s: float) -> None:
        """Close the queue, finish what waits within `deadline_s`, end the thread.

        Without a thread, the caller's does it.
        """
        self._queue.close(deadline_s)
        if self._thread is None:
            self._run()
        else:
            self._thread.join(deadline_s + JOIN_S)

    def _run(self) -> None:
        queue = self._queue
        while not queue.is_finished:
            with queue.lock:
                poll_s = None if queue.closes_at_s is None else STOP_POLL_S
                queue.lock.wait_for(self._is_needed, poll_s)
            try:
                self._turn()
            except Exception:  # what it knows of its sessions may be wrong from here on
                log.critical("the engine has failed and ends", exc_info=True)
                self.has_failed = True
                queue.close(0.0)
                break
        unfinished = queue.empty()
        if self._gate is not None:
            unfinished += self._gate.lookups.empty()
        refused = DrainingError("the server is shutting down; the request was not completed")
        self._deliver([(queued, refused) for queued in unfinished])
        if self._gate is not None:
            self._gate.stop(STORE_DEADLINE_S)

    def _is_needed(self) -> bool:
        if self._queue.has_work:
            return True
        if self._gate is not None and self._gate.waiting:
            return self._gate.lookups.has_arrivals
        return self._queue.closes_at_s is not None
