"""The options of an engine: what it may hold and do at once."""

from dataclasses import dataclass
from math import inf

from dreamserve.engine.limits import UNLIMITED, Limits
from dreamserve.engine.sessions.table import MAX_KEPT_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The bounds of an engine; what they add up to is in `usage.Usage.memory_bounds`.

    A plan, sample or rollout that would wait for over `max_wait_s` is refused. A step waits for at
    most one slice of long work.
    """

    capacity: int = 10_000  # sessions that live at once
    session_ttl_s: float = 3600.0  # until an idle session expires
    max_queue: int = 4096  # requests that wait
    max_batch: int = 256  # rows of a step batch
    # Plans, samples and rollouts in progress, and as many batches, burn-ins and short plans.
    max_jobs: int = 64
    max_wait_s: float = inf
    max_kept_bytes: float = MAX_KEPT_BYTES  # of steps that all sessions together keep for rewinding
    max_plan_bytes: float = inf  # of the plans that sessions keep
    slice_ms: float = 1.5  # duration of a slice of long work
    slice_rows: int | None = None  # its rows; None: as many as take `slice_ms` on this machine
    limits: Limits = UNLIMITED  # of each request
