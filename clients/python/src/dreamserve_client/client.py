"""The synchronous client."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from time import sleep
from typing import Any, Concatenate, Self

import httpx

from dreamserve_client import calls
from dreamserve_client.beginnings import of_forks, of_restored
from dreamserve_client.calls import Call, P, R
from dreamserve_client.codec import Encoding
from dreamserve_client.columns import Columns
from dreamserve_client.dreams import Dreams
from dreamserve_client.exchange import Exchange, Frames, Options
from dreamserve_client.methods import built_by, sent_by
from dreamserve_client.retries import IN_PASSING, MOST_RETRIES
from dreamserve_client.step_numbers import StepNumbers
from dreamserve_client.transports.base import Transport
from dreamserve_client.transports.choose import TransportName, route_of_client, transport_of
from dreamserve_protocol.branches import ForkResult
from dreamserve_protocol.errors import DreamserveError, SessionExpiredError, SessionNotFoundError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetResult


def _sends(build: Callable[P, Call[R]]) -> Callable[Concatenate["DreamClient", P], R]:
    def method(self: "DreamClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.send(build(*args, **kwargs))

    return sent_by(method, build)


def _begins(
    build: Callable[P, Call[ResetResult]],
) -> Callable[Concatenate["DreamClient", P], "DreamSession"]:
    def dream(self: "DreamClient", /, *args: P.args, **kwargs: P.kwargs) -> "DreamSession":
        """Begin a dream and return it as an object."""
        return DreamSession(self, self.send(build(*args, **kwargs)))

    return sent_by(dream, build)


def _begins_many(
    build: Callable[P, Columns],
) -> Callable[Concatenate["DreamClient", P], Dreams]:
    def dreams(self: "DreamClient", /, *args: P.args, **kwargs: P.kwargs) -> Dreams:
        return Dreams(self, build(*args, **kwargs)).begin()

    return built_by(dreams, build)


class DreamClient:
    """Drive dream sessions on a dreamserve server.

        with DreamClient("http://127.0.0.1:8000") as client:
            first = client.reset("takecover", seed=7)
            after = client.step(first.session_id, 1)

    `api_key` is sent to servers that want one; by default it is that of DREAMSERVE_API_KEY, if set.
    The transport is HTTP, or one WebSocket for all calls, `transport="stream"`, or an object such
    as InProcess. Bodies are msgpack, or `encoding="json"`. `timeout_s` bounds each attempt, to the
    end of its response; by default each verb has its own bound, as docs/sdk.md lists. Idempotent
    requests are retried up to `max_retries` times on connection errors, 429, 502, 503 and 504; long
    ones not after a timeout. Steps of sessions that the client knows are idempotent, because it
    numbers them; so is a rewind by steps, which counts from the last step that this client saw.
    `route` begins the ids of all sessions that the client creates, so that a load balancer which
    hashes ids sends them to one replica; a client of the stream has a random one by default.
    With `frames="png"` a result's frames are the bytes of PNG files instead of arrays.
    Pass an `http_client` to use your own proxies, certificates or headers; you close it yourself,
    and so a transport of your own. Different sessions may be used from different threads, but one
    session by only one thread at a time. Raises ConfigurationError for options that make no sense.
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
        transport: TransportName | Transport = "http",
        encoding: Encoding = "msgpack",
        timeout_s: float | None = None,
        max_retries: int = MOST_RETRIES,
        route: str | None = None,
        frames: Frames = "array",
        http_client: httpx.Client | None = None,
    ) -> None:
        self.route = route_of_client(transport, route)
        self._options = Options(timeout_s, max_retries, self.route, frames)
        self._numbers = StepNumbers()
        self._owned = isinstance(transport, str)
        self._transport = transport_of(
            base_url, transport, encoding, http_client, self.route, api_key
        )

    def send(self, request: Request[R] | Call[R], *, timeout_s: float | None = None) -> R:
        """Send a request of the protocol, or a call, and return its result.

        Raises ProblemError, APIConnectionError, ProtocolError and ClosedError.
        """
        exchange = Exchange(request, self._numbers, self._options, timeout_s)
        while True:
            try:
                fields = self._transport.send(exchange.call, exchange.timeout_s)
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
            sleep(wait_s)

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

    def resume(self, snapshot: Mapping[str, Any], session_id: str | None = None) -> "DreamSession":
        """Restore a snapshot and return the dream as an object."""
        restored = self.restore(snapshot, session_id)
        return DreamSession(self, of_restored(restored, snapshot))

    def __deepcopy__(self, memo: object) -> Self:
        """Return the client itself: connections cannot be copied. Gymnasium copies arguments."""
        return self

    def close(self) -> None:
        """Close the connections; an `http_client` or transport that was passed in stays open."""
        if self._owned:
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _continues(
    build: Callable[Concatenate[str, P], Call[R]],
) -> Callable[Concatenate["DreamSession", P], R]:
    def method(self: "DreamSession", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.client.send(build(self.session_id, *args, **kwargs))

    return sent_by(method, build, drop=1)


def _branches(
    build: Callable[Concatenate[str, P], Call[ForkResult]],
) -> Callable[Concatenate["DreamSession", P], list["DreamSession"]]:
    def fork(self: "DreamSession", /, *args: P.args, **kwargs: P.kwargs) -> list["DreamSession"]:
        """Return new dreams that are copies of this one; close each of them."""
        forks = self.client.send(build(self.session_id, *args, **kwargs))
        return [DreamSession(self.client, first) for first in of_forks(forks)]

    return sent_by(fork, build, drop=1)


class DreamSession:
    """One dream; `first` is its result of /reset. Leaving its `with` block ends the session."""

    step = _continues(calls.step)
    sample = _continues(calls.sample)
    rollout = _continues(calls.rollout)
    plan = _continues(calls.plan)
    rewind = _continues(calls.rewind)
    snapshot = _continues(calls.snapshot)
    session = _continues(calls.session)
    fork = _branches(calls.fork)

    def __init__(self, client: DreamClient, first: ResetResult) -> None:
        self.client = client
        self.first = first
        self.session_id = first.session_id

    def with_options(
        self,
        *,
        timeout_s: float | None = None,
        max_retries: int | None = None,
        frames: Frames | None = None,
    ) -> "DreamSession":
        """Return this dream on a client with other options."""
        client = self.client.with_options(
            timeout_s=timeout_s, max_retries=max_retries, frames=frames
        )
        return DreamSession(client, self.first)

    def close(self) -> None:
        """End the session, if it still exists."""
        try:
            self.client.delete(self.session_id)
        except (SessionNotFoundError, SessionExpiredError):
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
            return
        with suppress(DreamserveError):  # what ended the block is told, and not held up
            self.with_options(**IN_PASSING).close()
