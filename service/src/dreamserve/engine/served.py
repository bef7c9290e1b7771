"""The worlds that an engine serves: they are measured, and come and go while it runs."""

import threading
from collections.abc import Callable

from dreamserve.engine.handlers.base import Contexts
from dreamserve.engine.options import EngineOptions
from dreamserve.engine.scheduling.calibration import batch_sizes, calibrate
from dreamserve.engine.world import World
from dreamserve_protocol.errors import InvalidRequestError


class ServedWorlds:
    """The worlds in `contexts`, whose sessions are in its table; `turning` is held during turns."""

    def __init__(self, contexts: Contexts, options: EngineOptions, turning: threading.Lock) -> None:
        self._contexts, self._options, self._turning = contexts, options, turning
        self._sizes = batch_sizes(options.max_batch)
        self.by_name = contexts[""].worlds  # in the order given
        self.inline_rows = 0  # of the largest batch that runs in the caller's thread

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused, on all worlds."""
        return self._contexts.table.draining

    def warm(self, check_going: Callable[[], None]) -> None:
        """Run every graph at every batch size, so that no request waits for warm-up.

        `check_going` is called between runs; what it raises ends them.
        """
        options = self._options
        measured = calibrate(self.by_name.values(), self._sizes, options.slice_ms, check_going)
        self.inline_rows = measured.inline_rows
        slice_rows = options.slice_rows or measured.slice_rows
        self._contexts.update_all(slice_rows=slice_rows, latencies=measured.latencies)

    def add(self, world: World) -> None:
        """Serve another world, from any thread; new sessions of its name are on this one.

        It is warmed up before any request can use it. A world of the same name serves the sessions
        that it has.
        """
        measured = calibrate([world], self._sizes, self._options.slice_ms)
        table = self._contexts.table
        with self._turning:
            before = self.by_name.get(world.name)
            table.add(world)
            self.by_name[world.name] = world
            self.inline_rows = min(self.inline_rows, measured.inline_rows)
            self._contexts[""].latencies.update(measured.latencies)
            if before is not None:
                table.retire(before)

    def remove(self, name: str) -> None:
        """Take no new sessions of a world; it serves those that it has.

        Raises WorldNotFoundError, and InvalidRequestError for the only world.
        """
        with self._turning:
            world = self._contexts[""].world(name)
            if len(self.by_name) == 1:
                raise InvalidRequestError(f"{name} is the only world; load another one first")
            del self.by_name[name]
            self._contexts.table.retire(world)
