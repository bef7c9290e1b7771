"""TLS handshakes, bounded in number and time.

An event loop that listens by TLS itself tells of a connection once its handshake is done. Those
that never begin one would escape all bounds of connections, until the process had no file left.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from dreamserve.api.connections import RESERVE, Connections

BACKLOG = 2048
RETRY_S = 0.1  # after a connection could not be accepted

log = logging.getLogger("dreamserve")


class Handshakes:
    """Accepts connections on a socket, and makes them protocols once TLS is agreed upon.

    Of handshakes there are as many as connections may still come, with their reserve; beyond that
    the oldest is ended. Each ends after `head_timeout_s`. One counts until its file is closed: the
    limit of open files has room for these, and for few others.
    """

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        shared: Connections,
        count: Callable[[], int],
        make: Callable[[], asyncio.Protocol],
    ) -> None:
        """Begin; `count` returns the number of connections, and `make` one's protocol."""
        listening.listen(BACKLOG)
        listening.setblocking(False)
        self._listening, self._context, self._shared = listening, context, shared
        self._count, self._make = count, make
        self._loop = asyncio.get_running_loop()
        self._in_progress: dict[asyncio.Task[None], socket.socket] = {}  # the oldest first
        self._accepting = self._loop.create_task(self._accept())

    def close(self) -> None:
        """End all handshakes, and accept no more connections."""
        self._accepting.cancel()
        for client in self._in_progress.values():
            _shut_down(client)

    async def _accept(self) -> None:
        while True:
            try:
                client, _ = await self._loop.sock_accept(self._listening)
            except OSError as error:  # such as a client that has left, or no file
                log.warning("a connection could not be accepted: %s", error.strerror)
                await asyncio.sleep(RETRY_S)
                continue
            try:
                await self._make_room()
            except asyncio.CancelledError:
                client.close()
                raise
            task = self._loop.create_task(self._agree(client))
            self._in_progress[task] = client
            task.add_done_callback(self._in_progress.pop)
            await asyncio.sleep(0)  # or nothing else would run while connections wait here

    async def _make_room(self) -> None:
        """End the oldest handshakes until there is room for one more, and wait for that."""
        while len(self._in_progress) >= max(1, self._shared.most + RESERVE - self._count()):
            task, client = next(iter(self._in_progress.items()))
            _shut_down(client)
            await asyncio.wait([task])

    async def _agree(self, client: socket.socket) -> None:
        """Take part in a handshake, and hand the connection over."""
        with suppress(OSError):  # what the client did wrong, or its time was over
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                self._make,
                client,
                ssl=self._context,
                ssl_handshake_timeout=self._shared.settings.head_timeout_s,
            )


def _shut_down(client: socket.socket) -> None:
    """End a connection, so that its handshake fails and its file is closed.

    Cancelling the task would not do: if the handshake has not begun yet, the event loop keeps the
    file until the handshake's time is over.
    """
    with suppress(OSError):  # the client has left
        client.shutdown(socket.SHUT_RDWR)
