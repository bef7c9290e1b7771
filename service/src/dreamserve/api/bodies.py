"""Bodies of HTTP requests: read up to a limit, while the client stays connected."""

from starlette.types import Receive, Scope

from dreamserve.api.access.clients import client_of
from dreamserve.api.budgets import Budget
from dreamserve.api.elements import LARGE_BYTES
from dreamserve_protocol.errors import TooLargeError

Headers = dict[bytes, bytes]


class CallerGoneError(Exception):
    """The caller disconnected before the result was ready."""


class Held:
    """The bytes that the body of a request takes of a budget, until `free`."""

    __slots__ = ("_budget", "_bytes", "_client", "_scope")

    def __init__(self, budget: Budget, scope: Scope) -> None:
        self._budget, self._scope, self._bytes, self._client = budget, scope, 0, ""

    def grow_to(self, size: int) -> None:
        """Hold `size` bytes in all. Raises OverloadedError."""
        if not self._bytes:  # most bodies are small, and never need to know
            self._client = client_of(self._scope)
        self._budget.take(size - self._bytes, self._client, self._bytes)
        self._bytes = size

    def free(self) -> None:
        """Give them back."""
        if self._bytes:
            self._budget.free(self._bytes, self._client)
            self._bytes = 0


async def read_body(receive: Receive, headers: Headers, limit: int, held: Held) -> bytes:
    """Return the body of at most `limit` bytes; a large one counts in `held`.

    Raises TooLargeError, OverloadedError, and CallerGoneError on a disconnect.
    """
    # Before receiving, so a client that waits for "100 Continue" gets the error at once.
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise TooLargeError(f"the body exceeds the limit of {limit} bytes")
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGoneError
        more = message.get("more_body", False)
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise TooLargeError(f"the body exceeds the limit of {limit} bytes")
        if size > LARGE_BYTES:
            held.grow_to(size)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def disconnected(receive: Receive) -> None:
    """Return once the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
