"""The engine, its settings, and what all transports of a server share."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

from dreamserve.api.access.callers import Access
from dreamserve.api.async_engine import AsyncEngine, Outside
from dreamserve.api.codec import LARGE_RESULTS
from dreamserve.api.connections import Connections
from dreamserve.api.elements import Most
from dreamserve.api.png import PngReader
from dreamserve.api.problems import Problems
from dreamserve.api.world_changes import WorldChanges
from dreamserve.engine.engine import Engine
from dreamserve.observations import FrameSpec
from dreamserve.settings import Settings
from dreamserve_protocol.errors import DrainingError, NotReadyError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.verbs import VERBS
from dreamserve_protocol.worlds import LoadWorldRequest, UnloadWorldRequest

CODEC_THREADS = 2  # that decode large bodies and encode large results

_LARGE = frozenset(verb.request for verb in VERBS if verb.result in LARGE_RESULTS)

R = TypeVar("R")


class Service:
    """The engine and its settings, as the transports use them.

    Raises SettingsError for API keys that cannot be read.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.access = Access(settings)
        self.set_quotas()
        self.connections = Connections(settings, lambda: engine.usage.jobs)
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
        changes = WorldChanges(self.engine.served, self.settings, self._worlds_changed)
        outside: Outside = {LoadWorldRequest: changes.load, UnloadWorldRequest: changes.unload}
        return self.make_engine(self.engine, outside)

    @cached_property
    def png(self) -> PngReader:
        """What makes requests of bodies that may hold PNG files."""
        return PngReader(self._frames(), self.settings, self.aside)

    def _frames(self) -> list[FrameSpec]:
        seen = [world.spec.observation for world in self.engine.served.here]
        return [spec for spec in seen if isinstance(spec, FrameSpec)]

    def _worlds_changed(self) -> None:
        self.png.measure(self._frames())

    def set_quotas(self) -> None:
        """Tell the engine the quotas of the API keys."""
        self.engine.quotas = self.access.keys.quotas if self.access.keys else {}

    def check_room(self, request: Request[Any], client: str | None = None) -> None:
        """Raise OverloadedError if the request's result may be large, and there is no room for it.

        Any thread may call it. `client`: also if it has its share already.
        """
        if type(request) in _LARGE:
            self.connections.check_room(client)

    async def aside(self, function: Callable[[], R]) -> R:
        """Run a function in one of few threads, so that few large bodies are decoded at once."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, function)

    def close(self) -> None:
        """End the threads, once no request is in progress."""
        self._aside.shutdown(wait=False, cancel_futures=True)

    def check_alive(self) -> None:
        """Raise NotReadyError if the engine has failed: the process must be restarted."""
        if self.engine.has_failed:
            raise NotReadyError("the engine has failed; the process must be restarted")

    def check_ready(self) -> None:
        """Raise DrainingError or NotReadyError unless new sessions are accepted."""
        if self.engine.draining:
            raise DrainingError("the server is shutting down")
        if not self.engine.ready:
            raise NotReadyError("the engine is not running: it is warming up, or failed to start")
