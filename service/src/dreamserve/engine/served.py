"""The worlds that an engine serves: they are measured, and come and go while it runs."""

import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

from dreamserve.engine.handlers.base import Contexts
from dreamserve.engine.options import EngineOptions
from dreamserve.engine.scheduling.calibration import Calibration, batch_sizes, calibrate
from dreamserve.engine.world import World
from dreamserve_protocol.errors import InvalidRequestError


class ServedWorlds:
    """The worlds in `contexts`, whose sessions are in its table; `turning` is held during turns."""

    def __init__(self, contexts: Contexts, options: EngineOptions, turning: threading.Lock) -> None:
        self._contexts, self._options, self._turning = contexts, options, turning
        self._sizes = batch_sizes(options.max_batch)
        self.by_name = contexts[""].worlds  # in the order given
        self._measured = WeakKeyDictionary[World, Calibration]()  # of the worlds that are here
        self.inline_rows = 0  # of the largest batch that runs in the caller's thread

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused, on all worlds."""
        return self._contexts.table.draining

    @property
    def here(self) -> list[World]:
        """The worlds that are here, in the order in which they came; retired ones, too."""
        return [slab.world for slab in self._contexts.table.numbered.copy().values()]

    def warm(self, check_going: Callable[[], None]) -> None:
        """Run every graph at every batch size, so that no request waits for warm-up.

        `check_going` is called between runs; what it raises ends them.
        """
        for world in self.by_name.values():
            slice_ms = self._options.slice_ms
            self._use(world, calibrate(world, self._sizes, slice_ms, check_going))

    def add(self, world: World) -> World:
        """Serve another world, from any thread; new sessions of its name are on this one.

        It is warmed up before any request can use it. A world of the same name serves the sessions
        that it has. Return the world that is served: another object if that version is here
        already. It goes on, with the sessions it has. Raises MemoryError.
        """
        worlds = self._contexts.table.worlds
        with self._turning:
            if (same := worlds.same(world)) is not None:
                self._serve(same)
                return same
        measured = calibrate(world, self._sizes, self._options.slice_ms)
        with self._turning:
            worlds.add(world)
            self._serve(world)
            self._use(world, measured)
        return world

    def _serve(self, world: World) -> None:
        """Begin new sessions of its name on this world, which is here."""
        table, before = self._contexts.table, self.by_name.get(world.name)
        self.by_name[world.name] = world
        table.worlds.retired.discard(world)
        if before is not None and before is not world:
            table.worlds.retire(before, table.now_s)

    def _use(self, world: World, measured: Calibration) -> None:
        """Bound batches and slices by what was measured of all worlds that are here."""
        self._measured[world] = measured
        self._contexts[""].latencies[world] = measured.latency
        each = [self._measured[one] for one in self.here if one in self._measured]
        self.inline_rows = min(one.inline_rows for one in each)
        slice_rows = self._options.slice_rows or min(one.slice_rows for one in each)
        self._contexts.update_all(slice_rows=slice_rows)

    def remove(self, name: str) -> None:
        """Take no new sessions of a world; it serves those that it has.

        Raises WorldNotFoundError, and InvalidRequestError for the only world.
        """
        table = self._contexts.table
        with self._turning:
            world = self._contexts[""].world(name)
            if len(self.by_name) == 1:
                raise InvalidRequestError(f"{name} is the only world; load another one first")
            del self.by_name[name]
            table.worlds.retire(world, table.now_s)
