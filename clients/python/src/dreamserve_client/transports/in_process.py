"""Calls to an engine in this process: the service without a server, for tests and notebooks.

    with DreamClient(transport=InProcess("bundles/takecover")) as client:
        after = client.dream(seed=7).step(1)

This file alone imports the service, and only when it is used.
"""

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any

from dreamserve_client.calls import Call, Fields
from dreamserve_client.errors import APITimeoutError, ConfigurationError
from dreamserve_protocol.markers import Message
from dreamserve_protocol.wire import fields_of, with_png


class InProcess:
    """One world and its sessions, driven by the threads that call it.

    `world` is a bundle's folder, or what `dreamserve.local.LocalClient` takes, or such a client;
    `options` are those of LocalClient. Dreams are those of a server, bit for bit. A call that takes
    longer than its timeout is cancelled, and so is one that Ctrl-C interrupts; a step that has
    begun is computed to its end. Raises ConfigurationError where the package dreamserve is missing.
    """

    def __init__(self, world: Any, **options: Any) -> None:
        try:
            from dreamserve.local import LocalClient
        except ImportError as error:
            advice = "pip install ./service, in a clone of dreamserve"
            raise ConfigurationError(f"InProcess runs the service itself: {advice}") from error
        local = isinstance(world, LocalClient)
        self._local = world if local else LocalClient(world, **options)

    def send(self, call: Call[Any], timeout_s: float) -> Fields:
        """Compute one call, as `Transport.send` says."""
        return self.compute(call, timeout_s, lambda: None)

    def compute(
        self, call: Call[Any], timeout_s: float, between_turns: Callable[[], None]
    ) -> Fields:
        """Do the same; what `between_turns` raises cancels the call."""
        try:
            result = self._local.send(call.request, timeout_s, between_turns)
        except TimeoutError as error:
            raise APITimeoutError.after(timeout_s, "the engine in this process") from error
        if getattr(call.request, "frame_format", None) == "png":
            result = with_png(result)
        return {} if result is None else _fields(result)

    def close(self) -> None:
        """Do nothing: the sessions belong to the object, which others may share."""


class AsyncInProcess:
    """The same for AsyncDreamClient; calls are computed in other threads.

    A call whose task is cancelled is cancelled as at its timeout.
    """

    def __init__(self, world: Any, **options: Any) -> None:
        self._in_process = InProcess(world, **options)

    async def send(self, call: Call[Any], timeout_s: float) -> Fields:
        """Compute one call, as `Transport.send` says."""
        is_left = Event()

        def check() -> None:
            if is_left.is_set():
                raise asyncio.CancelledError

        try:
            return await asyncio.to_thread(self._in_process.compute, call, timeout_s, check)
        finally:
            is_left.set()

    async def close(self) -> None:
        """Do nothing, as InProcess."""


def _fields(value: Any) -> Any:
    """Return a result as the fields of a response, those of its parts too."""
    if isinstance(value, Message):
        return {name: _fields(one) for name, one in fields_of(value).items()}
    if isinstance(value, dict):
        return {name: _fields(one) for name, one in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], str):  # ids are as they are
        return [_fields(one) for one in value]
    return value
