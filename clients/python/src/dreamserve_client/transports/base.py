"""The seam between a client and its I/O: an object that sends one call."""

from typing import Any, Protocol

from dreamserve_client.calls import Call, Fields


class Transport(Protocol):
    """Sends the calls of one client, or of several, from any thread."""

    def send(self, call: Call[Any], timeout_s: float) -> Fields:
        """Return the fields of a call's result; wait for at most `timeout_s` seconds.

        Raises ProblemError when the server refuses, APIConnectionError when no response came,
        ProtocolError for one that is not dreamserve's, and ClosedError after `close`, or where the
        connections belong to another process.
        """

    def close(self) -> None:
        """Release what the transport holds."""


class AsyncTransport(Protocol):
    """The same, awaited."""

    async def send(self, call: Call[Any], timeout_s: float) -> Fields:
        """Do what `Transport.send` does."""

    async def close(self) -> None:
        """Release what the transport holds."""
