"""Notices that this server has hung: what it reads right after may have waited in its sockets.

A request that begins sessions in place of others, or ends them, takes effect on whatever lives
under their names: epochs fence copies of sessions, not requests. While a server hangs, its callers
send such requests to another replica, and go on there. So when it wakes it must not run those that
it had accepted before, nor those that it reads in its first moments. A caller that is still there
sends them again.

The event loop beats; a beat that is overdue tells that it did not run.
"""

import logging
import time
from collections.abc import Callable
from math import inf
from typing import Any

from dreamserve.engine.durability.needs import ends_unnamed, only_ends, replaces
from dreamserve_protocol.errors import NotReadyError
from dreamserve_protocol.markers import Request

BEAT_S = 0.25  # between beats
STALL_S = 1.0  # without a beat: callers wait longer before they ask another replica
AFTER_S = 1.0  # after that, everything that had arrived before has been read

log = logging.getLogger("dreamserve.engine")


def _since_boot_s() -> float:
    """Return a time that goes on while the machine sleeps, where it has one."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Stalls:
    """When the event loop has hung. One thread beats, any other one asks. Without beats: never."""

    def __init__(self, clock: Callable[[], float] = _since_boot_s) -> None:
        self._clock = clock
        self._beat_at_s, self._woke_at_s = inf, -inf
        self._count = 0

    def start(self) -> None:
        """Expect beats from now on."""
        self._beat_at_s = self._clock()

    def beat(self) -> None:
        """Tell that the event loop runs, at least every BEAT_S."""
        now_s = self._clock()
        if (stalled_s := now_s - self._beat_at_s) > STALL_S:
            self._woke_at_s = now_s
            self._count += 1
            log.warning(
                "the server did not run for %.1f s; for %g s it refuses what replaces or ends"
                " sessions, as its callers may have gone on elsewhere",
                stalled_s,
                AFTER_S,
            )
        self._beat_at_s = now_s  # last: see `count`

    @property
    def count(self) -> int:
        """How often it has hung, a stall included whose end the event loop has not noticed yet."""
        is_overdue = self._clock() - self._beat_at_s > STALL_S  # first: `beat` counts it before
        return self._count + is_overdue

    def admit(self, request: Request[Any]) -> float:
        """Return the `count` after which a new request is too late; infinite if it never is.

        Raises NotReadyError if the request may have waited in a socket while the server hung.
        """
        if not (replaces(request) or only_ends(request) or ends_unnamed(request)):
            return inf
        count = self.count
        if count > self._count or self._clock() - self._woke_at_s < AFTER_S:
            raise has_hung()
        return count


def has_hung() -> NotReadyError:
    """Return the error of a request that may be older than it seems; it was not run."""
    return NotReadyError(
        "the server has just hung, and does not know whether its caller still waits for this"
        " request, which replaces or ends a session"
    )
