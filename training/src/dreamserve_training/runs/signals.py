"""SIGTERM, SIGINT and SIGHUP end a run in order: an exception, a line, an exit status."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger("dreamserve_training")
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
DEFAULT = (signal.SIG_DFL, signal.default_int_handler)


class Stopped(SystemExit):
    """A signal that ends the process. Exit status: 128 + its number, as in a shell.

    It is not KeyboardInterrupt, after which Lightning exits with status 1.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` in the block when a signal arrives whose handler is the default one.

    Logs a line. After the block SIGINT is KeyboardInterrupt again, others stay `Stopped`. The same
    signal again ends the process at once. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    taken = [number for number, handler in before.items() if handler in DEFAULT]
    for number in taken:
        signal.signal(number, _raise)
    try:
        yield
    except Stopped as stop:
        if stop.signal not in taken:
            raise
        logger.warning("stopped by %s; the same call goes on from here", stop.signal.name)
        if stop.signal is signal.SIGINT:
            raise KeyboardInterrupt from stop
        raise
    finally:
        for number in taken:
            signal.signal(number, before[number])


def _raise(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Stopped(number)
