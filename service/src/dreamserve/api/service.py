"""What every door shares: the engine, the settings, and whether the server is up."""

from collections.abc import Sequence
from functools import cached_property

from dreamserve.api.async_engine import AsyncEngine
from dreamserve.engine.engine import Engine
from dreamserve.engine.limits import Limits
from dreamserve.engine.world import World
from dreamserve.settings import Settings


class Service:
    """The engine behind the doors."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.failure: Exception | None = None  # why the engine could not start

    @cached_property
    def async_engine(self) -> AsyncEngine:
        """The engine as seen by the event loop that first asks."""
        return AsyncEngine(self.engine)


def engine_of(worlds: Sequence[World], settings: Settings) -> Engine:
    """Return an engine over `worlds` as the settings ask for."""
    limits = Limits(
        rows=settings.max_rows,
        forks=settings.max_forks,
        rewind_window=settings.max_rewind,
        frames=settings.max_frames,
        dreamt_steps=settings.max_dreamt_steps,
        mixture_bytes=settings.max_mixture_bytes,
    )
    return Engine(
        worlds,
        capacity=settings.capacity,
        session_ttl_s=settings.session_ttl_s,
        max_queue=settings.max_queue,
        max_batch=settings.max_batch,
        max_jobs=settings.max_jobs,
        max_kept_steps=settings.max_kept_steps,
        slice_ms=settings.slice_ms,
        limits=limits,
    )
