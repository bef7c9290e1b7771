"""The most memory that clients can make an engine hold, by what it is for.

A bound is a product of settings and of a world's sizes. Not included: the worlds themselves and the
graphs' own working memory, bodies that are being read, and responses that are being sent.
"""

from collections.abc import Iterable

from dreamserve.engine.options import EngineOptions
from dreamserve.engine.scheduling.jobs import SMALL_BYTES
from dreamserve.engine.sessions.sizes import OBJECT_BYTES, answer_bytes
from dreamserve.engine.sessions.slab import slab_bytes
from dreamserve.engine.sessions.table import EXPIRED_REMEMBERED
from dreamserve.manifest import WorldSpec

ID_BYTES = 400  # of an id of 128 characters with its entry in a table
LANES = 2  # of long work (`scheduling.jobs`)


def jobs_bytes(max_jobs: int, max_job_bytes: float) -> float:
    """Return the most bytes of all long work in progress."""
    return LANES * (max_jobs * SMALL_BYTES + max_job_bytes)


def memory_bounds(worlds: Iterable[WorldSpec], options: EngineOptions) -> dict[str, float]:
    """Return the most bytes of each part; infinity where a part is not bounded."""
    specs = list(worlds)
    answer = max(map(answer_bytes, specs))
    row = max(answer_bytes(spec) + spec.state_bytes() for spec in specs)
    return {
        "sessions": options.capacity * sum(map(slab_bytes, specs)),
        "session ids": (options.capacity + EXPIRED_REMEMBERED) * ID_BYTES,
        "last results": options.capacity * answer,
        "rewind windows": options.max_kept_bytes,
        "last plans": options.max_plan_bytes,
        "jobs": jobs_bytes(options.max_jobs, options.limits.job_bytes),
        "step batch": options.max_batch * row,
        "queue": options.max_queue * OBJECT_BYTES,
    }
