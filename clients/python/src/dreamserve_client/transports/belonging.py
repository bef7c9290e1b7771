"""Connections belong to the process, or the event loop, that used them first.

A fork of the process would take its parent's responses from the same socket, and another event loop
waits for ever.
"""

import asyncio
import os

from dreamserve_client.errors import ClosedError


class OneProcess:
    """The process of the first call."""

    def __init__(self) -> None:
        self._process: int | None = None

    @property
    def is_another(self) -> bool:
        """Whether the present process is another one."""
        return self._process not in (None, os.getpid())

    def check(self) -> None:
        """Raise ClosedError in another process."""
        if self.is_another:
            raise ClosedError("the client belongs to another process; make one in each process")
        self._process = os.getpid()


class OneLoop:
    """The event loop of the first call."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise ClosedError in another event loop."""
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise ClosedError("the client belongs to another event loop; make one in each loop")
        self._loop = loop
