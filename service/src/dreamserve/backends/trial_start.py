"""Starts the process of a trial. Imports little, so that it can start before all else is imported.

Half of a trial's time is the start of its process: `ready_process` lets the two overlap.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PROGRAM = "dreamserve.backends.trial_process"
FAILED = 3  # its exit status after errors of graphs, which it has told
_ready: list["subprocess.Popen[bytes]"] = []  # one at most


def start() -> "subprocess.Popen[bytes]":
    """Return a process that waits for its trial: the one that is ready, or a new one."""
    if _ready:
        return _ready.pop()
    return subprocess.Popen(
        # -P: no module is imported from the working directory, which may be the bundle's folder.
        [sys.executable, "-P", "-W", "ignore", "-m", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def ready_process() -> Iterator[None]:
    """Start a process for the first trial inside the block; end it if there was none."""
    _ready.append(start())
    try:
        yield
    finally:
        end_ready_process()


def end_ready_process() -> None:
    """End the process that no trial has used."""
    while _ready:
        with _ready.pop() as process:
            process.kill()
