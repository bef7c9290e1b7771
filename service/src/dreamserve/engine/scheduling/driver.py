"""Who drives the engine, and the rules between them.

A driver queues requests, each with a future of its own kind (`Engine.queue`), and sees to it that
turns are taken: it calls `Engine.turn` itself, or wakes the engine's thread (`Engine.wake`). Turns
never overlap. The thread that took a turn hands its outcomes to the driver's `deliver`, all at
once, and the driver ends the futures where they belong.
"""

from typing import Protocol

from dreamserve.engine.scheduling.queued import Settled, settle


class Driver(Protocol):
    """Ends the futures of the requests that it has queued."""

    def deliver(self, outcomes: list[Settled]) -> None:
        """Take the outcomes of a turn, in the thread that took it; returns at once."""
        ...


class InPlace:
    """Ends futures in the thread that took the turn: right for concurrent.futures."""

    def deliver(self, outcomes: list[Settled]) -> None:
        """End them."""
        settle(outcomes)
