"""What an engine holds now, and at most: for metrics, and for the line that a server starts with.

Any thread may read it.
"""

from collections import Counter

from dreamserve.engine.memory import memory_bounds
from dreamserve.engine.options import EngineOptions
from dreamserve.engine.queue import RequestScheduler
from dreamserve.engine.sessions.slab import WorldMeasures, slab_bytes
from dreamserve.engine.sessions.table import SessionTable
from dreamserve.manifest import WorldSpec


class Usage:
    """The sessions, requests and memory of an engine."""

    def __init__(
        self,
        table: SessionTable,
        scheduler: RequestScheduler,
        options: EngineOptions,
    ) -> None:
        self._table, self._scheduler, self._options = table, scheduler, options

    @property
    def capacity(self) -> int:
        """Maximum number of live sessions."""
        return self._options.capacity

    @property
    def memory_bytes(self) -> int:
        """Memory of the sessions' slabs: one for each world that is here, of `capacity` rows."""
        return self.capacity * sum(map(slab_bytes, self._specs))

    @property
    def memory_bounds(self) -> dict[str, float]:
        """The most bytes that clients can make it hold, by what they are for."""
        return memory_bounds(self._specs, self._options)

    @property
    def _specs(self) -> list[WorldSpec]:
        """The worlds that have a slab, those included that take no new sessions."""
        return [slab.world.spec for slab in self._table.numbered.copy().values()]

    @property
    def of_worlds(self) -> dict[str, WorldMeasures]:
        """What was measured of each world's sessions, by name; worlds that were removed, too."""
        return self._table.measures.copy()

    @property
    def live(self) -> Counter[str]:
        """Number of live sessions by their worlds' names."""
        counts = Counter(dict.fromkeys(self.of_worlds, 0))
        for slab in self._table.numbered.copy().values():
            counts[slab.world.name] += slab.count
        return counts

    @property
    def kept_bytes(self) -> int:
        """The most bytes that the rewind windows of all sessions take."""
        return self._table.kept_bytes

    @property
    def waiting(self) -> int:
        """Number of waiting requests."""
        return self._scheduler.waiting

    @property
    def jobs(self) -> int:
        """Number of plans, samples, batches and burn-ins in progress."""
        return len(self._scheduler.jobs)
