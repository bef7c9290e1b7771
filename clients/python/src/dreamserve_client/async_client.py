"""The asynchronous client: `client.py` with its I/O awaited."""

from asyncio import sleep
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from copy import copy
from typing import Any, Concatenate, Self

import httpx

from dreamserve_client import calls
from dreamserve_client.beginnings import of_forks, of_restored
from dreamserve_client.calls import Call, P, R
from dreamserve_client.codec import Encoding
from dreamserve_client.columns import Columns
from dreamserve_client.dreams import AsyncDreams
from dreamserve_client.exchange import Exchange, Frames, Options
from dreamserve_client.methods import built_by, sent_by
from dreamserve_client.retries import IN_PASSING, MOST_RETRIES
from dreamserve_client.step_numbers import StepNumbers
from dreamserve_client.transports.base import AsyncTransport
from dreamserve_client.transports.choose import TransportName, async_transport_of, route_of_client
from dreamserve_protocol.branches import ForkResult
from dreamserve_protocol.errors import DreamserveError, SessionExpiredError, SessionNotFoundError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetResult


def _sends(
    build: Callable[P, Call[R]],
) -> Callable[Concatenate["AsyncDreamClient", P], Coroutine[Any, Any, R]]:
    async def method(self: "AsyncDreamClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.send(build(*args, **kwargs))

    return sent_by(method, build)


def _begins(
    build: Callable[P, Call[ResetResult]],
) -> Callable[Concatenate["AsyncDreamClient", P], Coroutine[Any, Any, "AsyncDreamSession"]]:
    async def dream(
        self: "AsyncDreamClient", /, *args: P.args, **kwargs: P.kwargs
    ) -> "AsyncDreamSession":
        """Begin a dream and return it as an object."""
        return AsyncDreamSession(self, await self.send(build(*args, **kwargs)))

    return sent_by(dream, build)


def _begins_many(
    build: Callable[P, Columns],
) -> Callable[Concatenate["AsyncDreamClient", P], Coroutine[Any, Any, AsyncDreams]]:
    async def dreams(self: "AsyncDreamClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncDreams:
        return await AsyncDreams(self, build(*args, **kwargs)).begin()

    return built_by(dreams, build)


class AsyncDreamClient:
    """Drive dream sessions on a dreamserve server.

        async with AsyncDreamClient("http://127.0.0.1:8000") as client:
            first = await client.reset("takecover", seed=7)
            after = await client.step(first.session_id, 1)

    Options, transports, retries and numbered steps are those of DreamClient. Sessions may be used
    from different tasks of one event loop, one session by one task at a time; in another event loop
    than that of the first call ClosedError is raised.
    """

    reset = _sends(calls.reset)
    step = _sends(calls.step)
    reset_batch = _sends(calls.reset_batch)
    step_batch = _sends(calls.step_batch)
    delete_batch = _sends(calls.delete_batch)
    sample = _sends(calls.sample)
    rollout = _sends(calls.rollout)
    plan = _sends(calls.plan)
    fork = _sends(calls.fork)
    rewind = _sends(calls.rewind)
    snapshot = _sends(calls.snapshot)
    restore = _sends(calls.restore)
    session = _sends(calls.session)
    delete = _sends(calls.delete)
    sessions = _sends(calls.sessions)
    delete_idle = _sends(calls.delete_idle)
    admin_sessions = _sends(calls.admin_sessions)
    admin_delete = _sends(calls.admin_delete)
    admin_load = _sends(calls.admin_load)
    admin_unload = _sends(calls.admin_unload)
    worlds = _sends(calls.worlds)
    world = _sends(calls.world)
    dream = _begins(calls.reset)
    dreams = _begins_many(Columns)

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        transport: TransportName | AsyncTransport = "http",
        encoding: Encoding = "msgpack",
        timeout_s: float | None = None,
        max_retries: int = MOST_RETRIES,
        route: str | None = None,
        frames: Frames = "array",
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        self.route = route_of_client(transport, route)
        self._options = Options(timeout_s, max_retries, self.route, frames)
        self._numbers = StepNumbers()
        self._owned = isinstance(transport, str)
        self._transport = async_transport_of(
            base_url, transport, encoding, http_client, self.route, api_key
        )

    async def send(self, request: Request[R] | Call[R], *, timeout_s: float | None = None) -> R:
        """Send a request of the protocol, or a call, and return its result.

        Raises ProblemError, APIConnectionError, ProtocolError and ClosedError.
        """
        exchange = Exchange(request, self._numbers, self._options, timeout_s)
        while True:
            try:
                fields = await self._transport.send(exchange.call, exchange.timeout_s)
            except DreamserveError as error:
                if exchange.is_done(error):
                    return exchange.result({})
                wait_s = exchange.wait_s(error)
                if wait_s is None:
                    raise
            else:
                result = exchange.result(fields)
                wait_s = exchange.rows_wait_s(result)
                if wait_s is None:
                    return result
            await sleep(wait_s)

    def with_options(
        self,
        *,
        timeout_s: float | None = None,
        max_retries: int | None = None,
        frames: Frames | None = None,
    ) -> Self:
        """Return a client with other options that shares this one's connections and sessions.

        Options that are not given stay as they are. Close the original only.
        """
        copied = copy(self)
        copied._options, copied._owned = (
            self._options.changed(timeout_s, max_retries, frames),
            False,
        )
        return copied

    async def resume(
        self, snapshot: Mapping[str, Any], session_id: str | None = None
    ) -> "AsyncDreamSession":
        """Restore a snapshot and return the dream as an object."""
        restored = await self.restore(snapshot, session_id)
        return AsyncDreamSession(self, of_restored(restored, snapshot))

    def __deepcopy__(self, memo: object) -> Self:
        """Return the client itself: connections cannot be copied. Gymnasium copies arguments."""
        return self

    async def close(self) -> None:
        """Close the connections; an `http_client` or transport that was passed in stays open."""
        if self._owned:
            await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def _continues(
    build: Callable[Concatenate[str, P], Call[R]],
) -> Callable[Concatenate["AsyncDreamSession", P], Coroutine[Any, Any, R]]:
    async def method(self: "AsyncDreamSession", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.client.send(build(self.session_id, *args, **kwargs))

    return sent_by(method, build, drop=1)


def _branches(
    build: Callable[Concatenate[str, P], Call[ForkResult]],
) -> Callable[Concatenate["AsyncDreamSession", P], Coroutine[Any, Any, list["AsyncDreamSession"]]]:
    async def fork(
        self: "AsyncDreamSession", /, *args: P.args, **kwargs: P.kwargs
    ) -> list["AsyncDreamSession"]:
        """Return new dreams that are copies of this one; close each of them."""
        forks = await self.client.send(build(self.session_id, *args, **kwargs))
        return [AsyncDreamSession(self.client, first) for first in of_forks(forks)]

    return sent_by(fork, build, drop=1)


class AsyncDreamSession:
    """One dream; `first` is its result of /reset. Leaving `async with` ends the session."""

    step = _continues(calls.step)
    sample = _continues(calls.sample)
    rollout = _continues(calls.rollout)
    plan = _continues(calls.plan)
    rewind = _continues(calls.rewind)
    snapshot = _continues(calls.snapshot)
    session = _continues(calls.session)
    fork = _branches(calls.fork)

    def __init__(self, client: AsyncDreamClient, first: ResetResult) -> None:
        self.client = client
        self.first = first
        self.session_id = first.session_id

    def with_options(
        self,
        *,
        timeout_s: float | None = None,
        max_retries: int | None = None,
        frames: Frames | None = None,
    ) -> "AsyncDreamSession":
        """Return this dream on a client with other options."""
        client = self.client.with_options(
            timeout_s=timeout_s, max_retries=max_retries, frames=frames
        )
        return AsyncDreamSession(client, self.first)

    async def close(self) -> None:
        """End the session, if it still exists."""
        try:
            await self.client.delete(self.session_id)
        except (SessionNotFoundError, SessionExpiredError):
            return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            await self.close()
            return
        with suppress(DreamserveError):  # what ended the block is told, and not held up
            await self.with_options(**IN_PASSING).close()
