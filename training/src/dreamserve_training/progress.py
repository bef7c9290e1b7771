"""Log progress: items done, and the time left at the rate so far."""

import logging
import time
from collections.abc import Callable

Progress = Callable[[int, int], None]
logger = logging.getLogger("dreamserve_training")
SECONDS_BETWEEN_LINES = 10.0


def log_progress(what: str) -> Progress:
    """Return `progress(done, total)`, which logs at most every 10 s, and at the end.

    The time left is that at the rate since the first item was done: before it, workers start.
    """
    last_s = time.monotonic()
    known: int | None = None  # items of an earlier run
    first: tuple[int, float] | None = None  # items done when the first one was, and the time

    def progress(done: int, total: int) -> None:
        nonlocal known, first, last_s
        now_s = time.monotonic()
        if known is None:
            known = done
        elif first is None and done > known:
            first = done, now_s
        if done < total and now_s - last_s < SECONDS_BETWEEN_LINES:
            return
        last_s = now_s
        left = _left(done, total, now_s, *first) if first else ""
        logger.info("%s %d/%d  %s", what, done, total, left)

    return progress


def _left(done: int, total: int, now_s: float, first: int, first_s: float) -> str:
    if done == first:
        return ""
    return f"{duration((now_s - first_s) / (done - first) * (total - done))} left"


def duration(seconds: float) -> str:
    """Return `seconds` as text, in s, min or h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def show_progress() -> None:
    """Show progress on stderr in a program that has not configured logging."""
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
