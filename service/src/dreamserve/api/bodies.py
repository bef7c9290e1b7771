"""Bodies of HTTP requests: read up to a limit, while the client stays connected."""

from starlette.types import Receive

from dreamserve_protocol.errors import TooLargeError

Headers = dict[bytes, bytes]


class CallerGoneError(Exception):
    """The caller disconnected before the result was ready."""


async def read_body(receive: Receive, headers: Headers, limit: int) -> bytes:
    """Return the body of at most `limit` bytes.

    Raises TooLargeError, and CallerGoneError on a disconnect.
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
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def disconnected(receive: Receive) -> None:
    """Return once the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
