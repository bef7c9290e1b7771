"""Progress as lines: how far, and how long the rest will take at the pace so far."""

import logging
import time
from collections.abc import Callable

Progress = Callable[[int, int], None]
logger = logging.getLogger("dreamserve_training")
SECONDS_BETWEEN_LINES = 10.0


def log_progress(what: str) -> Progress:
    """Return a progress function that logs a line now and then, and one at the end."""
    begun_s = last_s = time.monotonic()
    first: int | None = None  # what an earlier run had already done says nothing of the pace

    def progress(done: int, total: int) -> None:
        nonlocal first, last_s
        now_s = time.monotonic()
        if first is None:
            first = done
        if done < total and now_s - last_s < SECONDS_BETWEEN_LINES:
            return
        last_s = now_s
        fresh = done - first
        left = f"{duration((now_s - begun_s) / fresh * (total - done))} left" if fresh else ""
        logger.info("%s %d/%d  %s", what, done, total, left)

    return progress


def duration(seconds: float) -> str:
    """Return `seconds` as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
