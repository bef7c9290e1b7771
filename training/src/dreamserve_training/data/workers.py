"""Worker processes that run environments, each in its own working directory.

ViZDoom writes `_vizdoom/` and `_vizdoom.ini` to the working directory, where two instances would
collide. Paths that are passed to a worker must therefore be absolute.
"""

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context

from dreamserve_training.envs import EnvSpec, RealEnv

_directory: tempfile.TemporaryDirectory[str] | None = None  # of this worker process


def game_workers(count: int) -> ProcessPoolExecutor:
    """Return a pool of `count` processes that run environments."""
    # spawn, because a forked ViZDoom would reuse its parent's shared-memory names
    return ProcessPoolExecutor(
        count, mp_context=get_context("spawn"), initializer=_enter_own_directory
    )


@lru_cache(maxsize=1)
def worker_env(spec: EnvSpec) -> RealEnv:
    """Return this process's environment, made once because that takes longer than an episode."""
    return spec.open()


def _enter_own_directory() -> None:
    global _directory
    _directory = tempfile.TemporaryDirectory(prefix="game-", ignore_cleanup_errors=True)
    os.chdir(_directory.name)
