"""The synchronous client."""

from collections.abc import Callable, Iterable
from time import sleep
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from dreamserve_client import calls
from dreamserve_client.calls import Call
from dreamserve_client.errors import APIStatusError, SessionExpiredError, SessionNotFoundError
from dreamserve_client.exchange import Exchange
from dreamserve_client.methods import documented
from dreamserve_client.types import Reset, ResetInclude, Start

P = ParamSpec("P")
T = TypeVar("T")


def _sends(build: Callable[P, Call[T]]) -> Callable[Concatenate["DreamClient", P], T]:
    def method(self: "DreamClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(*args, **kwargs))

    return documented(method, build)


class DreamClient:
    """Drive dream sessions on a dreamserve server.

        with DreamClient("http://127.0.0.1:8000") as client:
            first = client.reset("takecover", seed=7)
            after = client.step(first.session_id, 1)

    `timeout_s` bounds the wait for the server in each attempt. Requests that can be sent twice
    without harm are retried up to `max_retries` times on connection errors, 429, 502, 503 and 504.
    `http_client` brings your own proxies, certificates or headers; it stays yours to close.
    Sessions may be used from different threads, one session by one thread at a time.
    """

    reset = _sends(calls.reset)
    step = _sends(calls.step)
    reset_batch = _sends(calls.reset_batch)
    step_batch = _sends(calls.step_batch)
    sample = _sends(calls.sample)
    rollout = _sends(calls.rollout)
    plan = _sends(calls.plan)
    fork = _sends(calls.fork)
    rewind = _sends(calls.rewind)
    snapshot = _sends(calls.snapshot)
    restore = _sends(calls.restore)
    session = _sends(calls.session)
    delete = _sends(calls.delete)
    worlds = _sends(calls.worlds)
    world = _sends(calls.world)

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 30.0,
        max_retries: int = 2,
        http_client: httpx.Client | None = None,
    ) -> None:
        self._exchange = Exchange(base_url, timeout_s, max_retries)
        self._owned = http_client is None
        self._http = http_client or httpx.Client()

    def send(self, call: Call[T]) -> T:
        """Send a call and return its answer; raises the errors of `dreamserve_client.errors`."""
        call = self._exchange.numbers.number(call)
        request = self._exchange.request(self._http, call)
        attempt = 0
        while True:
            try:
                return self._exchange.answer(call, self._http.send(request))
            except (httpx.RequestError, APIStatusError) as error:
                wait_s = self._exchange.wait_s(call, error, attempt)
            sleep(wait_s)
            attempt += 1

    def dream(
        self,
        world: str | None = None,
        *,
        seed: int | None = None,
        temperature: float | None = None,
        start: Start | None = None,
        rewind_window: int | None = None,
        include: Iterable[ResetInclude] = (),
    ) -> "DreamSession":
        """Begin a dream and return it as an object that knows its session."""
        first = self.reset(
            world,
            seed=seed,
            temperature=temperature,
            start=start,
            rewind_window=rewind_window,
            include=include,
        )
        return DreamSession(self, first)

    def close(self) -> None:
        """Close the connections; an `http_client` that was given stays open."""
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _continues(
    build: Callable[Concatenate[str, P], Call[T]],
) -> Callable[Concatenate["DreamSession", P], T]:
    def method(self: "DreamSession", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.client.send(build(self.session_id, *args, **kwargs))

    return documented(method, build, drop=1)


class DreamSession:
    """One dream: `first` is its step 0. Leaving its `with` block ends the session."""

    step = _continues(calls.step)
    sample = _continues(calls.sample)
    rollout = _continues(calls.rollout)
    plan = _continues(calls.plan)
    fork = _continues(calls.fork)
    rewind = _continues(calls.rewind)
    snapshot = _continues(calls.snapshot)
    session = _continues(calls.session)

    def __init__(self, client: DreamClient, first: Reset) -> None:
        self.client = client
        self.first = first
        self.session_id = first.session_id

    def close(self) -> None:
        """End the session; one that is already gone is fine."""
        try:
            self.client.delete(self.session_id)
        except (SessionNotFoundError, SessionExpiredError):
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
