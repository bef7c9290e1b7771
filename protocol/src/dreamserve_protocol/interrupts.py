"""Signals wait while code runs that must not be left half done.

Python calls the handlers of signals in the main thread, between any two lines, and that of Ctrl-C
raises KeyboardInterrupt there: with a lock taken, or a connection half read.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

# Without the enumerations around them, which would take longer than a small turn of the engine.
_bare = sys.modules.get("_signal", signal)
# Those whose handlers may raise, as far as this system has them.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK", "SIGALRM", "SIGUSR1", "SIGUSR2")
_NUMBERS = tuple(int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name))


class Signals:
    """The signals that have come and whose handlers were not called yet."""

    def __init__(self) -> None:
        self._wait = True
        self._come: list[tuple[Handler, int, FrameType | None]] = []

    def handle(self, handler: Handler, number: int, frame: FrameType | None) -> None:
        """Keep a signal for `deliver`, or call its handler if none has to wait."""
        if self._wait:
            self._come.append((handler, number, frame))
        else:
            handler(number, frame)

    def deliver(self) -> None:
        """Call the handlers of the signals that have come, which may raise."""
        while self._come:
            handler, number, frame = self._come.pop(0)
            handler(number, frame)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Let no signal wait in this block, which may take long, or be left at any line."""
        self._wait = False
        try:
            self.deliver()
            yield
        finally:
            self._wait = True

    def end(self) -> None:
        """Let no signal wait from now on."""
        self._wait = False


@contextmanager
def signals_wait() -> Iterator[Signals]:
    """Let signals wait until the block ends, or where it calls `deliver` or lets them be `heard`.

    In other threads than the main one, where no handler is called, it does nothing.
    """
    signals, handlers = Signals(), list[tuple[int, Handler]]()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    try:
        for number in _NUMBERS:
            handler = _bare.getsignal(number)
            if callable(handler):
                handlers.append((number, handler))
                _bare.signal(number, partial(signals.handle, handler))
        yield signals
    finally:
        signals.end()
        for number, handler in handlers:
            _bare.signal(number, handler)
        signals.deliver()
