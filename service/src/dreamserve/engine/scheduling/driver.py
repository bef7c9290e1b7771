"""The interface between the engine and its driver.

A driver queues requests, each with a future of its own kind (`Engine.queue`), and makes the engine
take turns: it calls `Engine.turn` itself, or wakes the engine's thread (`Engine.wake`). Turns never
overlap. The thread that took a turn passes all its outcomes to the driver's `deliver` in one call,
and the driver settles the futures in the thread or event loop that they belong to.
"""

from typing import Protocol

from dreamserve.engine.scheduling.queued import Settled, settle


class Driver(Protocol):
    """Settles the futures of the requests that it has queued."""

    def deliver(self, outcomes: list[Settled]) -> None:
        """Receive a turn's outcomes, in the thread that took the turn; must not block."""
        ...


class InlineDriver:
    """Settles futures in the thread that took the turn, as concurrent.futures allow."""

    def deliver(self, outcomes: list[Settled]) -> None:
        settle(outcomes)
