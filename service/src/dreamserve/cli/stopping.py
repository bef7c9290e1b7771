"""Signals before the server runs: a process that has not begun to serve has nothing to finish."""

import os
import signal
from types import FrameType


def exit_when_told() -> None:
    """From now on, end the process with status 0 on SIGTERM and SIGHUP, unless it ignores them.

    As a container's first process it would otherwise ignore SIGTERM. Ctrl-C raises, as always.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    os._exit(0)  # an exception would be lost where Python ignores them
