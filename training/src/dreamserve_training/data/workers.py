"""Processes that play games, each in a directory of its own.

ViZDoom makes `_vizdoom/` and `_vizdoom.ini` where it is run, and two that start at once collide.
Whatever path a worker is given must be absolute.
"""

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

_directory: tempfile.TemporaryDirectory[str] | None = None  # of this worker, while it lives


def game_workers(count: int) -> ProcessPoolExecutor:
    """Return a pool of `count` processes to play games in."""
    # spawn: a forked ViZDoom shares its parent's shared-memory names
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_move_away)


def _move_away() -> None:
    global _directory
    _directory = tempfile.TemporaryDirectory(prefix="game-", ignore_cleanup_errors=True)
    os.chdir(_directory.name)
