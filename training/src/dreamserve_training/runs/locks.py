"""One process at a time works in a directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dreamserve_training.runs.errors import LockedError


@contextmanager
def locked(directory: Path, name: str) -> Iterator[None]:
    """Hold the lock of the run `name` in `directory`; LockedError names the process that has it.

    The kernel releases it when this process ends, however it ends.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{name}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise LockedError(
                f"{directory}: process {holder} works on {name} here; wait for it or stop it"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
