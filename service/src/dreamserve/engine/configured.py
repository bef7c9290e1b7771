"""An engine as the settings want it."""

from collections.abc import Sequence

from dreamserve.engine.durability.gate import Durability
from dreamserve.engine.durability.stalls import Stalls
from dreamserve.engine.engine import Engine
from dreamserve.engine.limits import Limits
from dreamserve.engine.options import EngineOptions
from dreamserve.engine.world import World
from dreamserve.settings import Settings
from dreamserve.store.base import Retention, Store
from dreamserve.store.choose import open_store


def engine_of(worlds: Sequence[World], settings: Settings) -> Engine:
    """Return an engine for `worlds`, configured by the settings.

    Raises SettingsError if the session store cannot be opened.
    """
    limits = Limits(
        rows=settings.max_rows,
        forks=settings.max_forks,
        rewind_window=settings.max_rewind,
        frames=settings.max_frames,
        dreamt_steps=settings.max_dreamt_steps,
        plan_steps=settings.max_plan_steps,
        mixture_bytes=settings.max_mixture_bytes,
        job_bytes=settings.max_job_bytes,
    )
    options = EngineOptions(
        capacity=settings.capacity,
        session_ttl_s=settings.session_ttl_s,
        max_queue=settings.max_queue,
        max_batch=settings.max_batch,
        max_jobs=settings.max_jobs,
        max_wait_s=settings.max_wait_s,
        max_kept_bytes=settings.max_kept_bytes,
        max_plan_bytes=settings.max_plan_bytes,
        slice_ms=settings.slice_ms,
        limits=limits,
    )
    store, strict = store_of(settings), settings.durability == "strict"
    stalls = None if settings.store.startswith("sqlite:") else Stalls()  # one server has the file
    timeout_s = settings.store_timeout_s
    stored = None if store is None else Durability(store, strict, timeout_s, stalls)
    return Engine(worlds, options, durability=stored)


def store_of(settings: Settings) -> Store | None:
    """Return the session store; None for memory. Raises SettingsError if it cannot be opened."""
    return open_store(
        settings.store,
        Retention(ttl_s=settings.session_ttl_s, remembered_s=settings.session_ttl_s),
        timeout_s=settings.store_timeout_s,
        strict=settings.durability == "strict",
    )
