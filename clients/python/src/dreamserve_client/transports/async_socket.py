"""One open WebSocket for asyncio: a task reads, and hands responses to the calls in progress."""

import asyncio
from contextlib import suppress

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from dreamserve_client.codec import UNREADABLE
from dreamserve_client.errors import ProtocolError
from dreamserve_client.transports.in_progress import InProgress, Response


class AsyncSocket:
    """One open WebSocket, and the calls in progress on it."""

    def __init__(self, connection: ClientConnection, server: str) -> None:
        self._connection, self._server = connection, server
        self._calls = InProgress[asyncio.Future[Response]](server)
        self._reader = asyncio.create_task(self._read())

    @property
    def is_closed(self) -> bool:
        """Whether no request can be sent any more."""
        return self._connection.state is not State.OPEN

    async def exchange(self, id: int, frame: bytes | str) -> Response:
        """Send a request; return its response."""
        response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._calls.add(id, response, len(frame))
        try:
            with suppress(ConnectionClosed):  # the reader notices it too, and fails the call
                await self._connection.send(frame)
            return await response
        finally:
            self._calls.remove(id)

    async def close(self) -> None:
        """Close the socket; calls in progress fail."""
        await self._connection.close()
        await self._reader

    async def _read(self) -> None:
        """Hand responses to their calls until the socket closes; then fail what still waits."""
        try:
            async for message in self._connection:
                self._calls.take(message)
        except ConnectionClosed:
            pass
        except UNREADABLE as error:
            self._calls.fail(ProtocolError.of(f"{self._server} answered", error))
            await self._connection.close()
        finally:
            self._calls.lost(self._connection.close_code, self._connection.close_reason)
