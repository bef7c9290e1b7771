"""How long each call may take, who says so, and what is not sent again when it took longer."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Any

import httpx
import pytest

import dreamserve_client as sdk
from dreamserve_client.timeouts import LONG_S
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.verbs import BY_NAME

PATIENCE_S = 30.0
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n"


class Slow:
    """A server that answers one request a little at a time, and never to the end."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.ends, self.thread = Event(), Thread(target=lambda: None)

    def answer(self, work: Callable[[socket.socket], object]) -> None:
        """Do a little `work` on the connection, again and again, until the client hangs up."""
        self.thread = Thread(target=self._serve, args=(work,))
        self.thread.start()

    def trickle(self, ready: bytes, drops: bytes) -> None:
        """Read the request, send `ready` at once, and then the drop, again and again."""

        def begin(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(ready)

        steps = iter([begin])
        self.answer(lambda connection: next(steps, lambda one: one.sendall(drops))(connection))

    def _serve(self, work: Callable[[socket.socket], object]) -> None:
        with closing(self.listening.accept()[0]) as connection:
            try:
                for _ in range(500):
                    if self.ends.wait(0.02):
                        return
                    work(connection)
            except OSError:
                return  # the client has hung up


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Assert that what is done takes so long, or not much longer."""
    began_s = monotonic()
    yield
    assert seconds * 0.9 < monotonic() - began_s < seconds + 3


@pytest.fixture
def slow() -> Iterator[Slow]:
    server = Slow()
    yield server
    server.ends.set()
    server.listening.close()
    server.thread.join(PATIENCE_S)
    assert not server.thread.is_alive()


def bounds(server) -> list[float]:
    """The timeouts that the requests were sent with, in seconds."""
    return [request.extensions["timeout"]["read"] for request in server.requests]


def test_calls_that_may_be_long_have_longer_bounds_than_others(fake):
    server = fake(fake.problem(422, "invalid_request"))
    client = server.client()
    calls = [
        (client.reset, {}),
        (client.step, {"session_id": "s1", "action": 1}),
        (client.worlds, {}),
        (client.sample, {"session_id": "s1", "futures": 1, "horizon": 1}),
        (client.rollout, {"policy": "random", "max_steps": 1, "episodes": 1}),
        (client.plan, {"session_id": "s1"}),
        (client.plan, {"session_id": "s1", "budget_ms": 90_000}),
        (client.step_batch, {"session_ids": ["a"], "actions": [1]}),
    ]
    for call, fields in calls:
        with pytest.raises(sdk.InvalidRequestError):
            call(**fields)
    assert bounds(server) == [30, 30, 30, 600, 600, 600, 120, 120]
    assert LONG_S.keys() <= BY_NAME.keys()


def test_no_attempt_waits_longer_than_10_seconds_for_a_connection(fake):
    server = fake(fake.ok(fake.PLAN))
    server.client().plan("s1")
    assert server.requests[0].extensions["timeout"]["connect"] == 10


def test_a_client_or_a_single_call_may_have_another_bound(fake):
    server = fake(fake.ok(fake.PLAN))
    client = server.client(timeout_s=5)
    client.plan("s1")
    client.with_options(timeout_s=900).plan("s1", budget_ms=60_000)
    client.send(PlanRequest("s1"), timeout_s=0.5)
    client.plan("s1")
    assert bounds(server) == [5, 900, 0.5, 5]
    with pytest.raises(sdk.ConfigurationError, match="timeout_s must be"):
        client.send(PlanRequest("s1"), timeout_s=-1)


def test_other_options_share_the_connections_and_the_numbers_of_steps(fake, waits):
    server = fake(fake.ok(fake.RESET), fake.ok(fake.STEP), httpx.ReadError("cut"))
    client = server.client()
    with client.with_options(max_retries=0) as once:
        once.reset(session_id="s1")
    client.step("s1", 1)
    with pytest.raises(sdk.APIConnectionError):
        once.step("s1", 1)
    assert [server.body(i).get("step") for i in range(3)] == [None, 1, 2]
    assert len(server.requests) == 3


def test_a_dream_may_have_other_options_too(fake):
    server = fake(fake.ok(fake.RESET), fake.ok(fake.PLAN))
    dream = server.client().dream()
    patient = dream.with_options(timeout_s=900)
    patient.plan()
    assert bounds(server) == [30, 900]
    assert patient.first is dream.first


def test_a_long_call_that_timed_out_is_not_sent_again(fake, waits):
    server = fake(httpx.ReadTimeout("late"))
    with pytest.raises(sdk.APITimeoutError, match="600 s; a longer timeout_s gives it more time"):
        server.client().plan("s1")
    assert len(server.requests) == 1
    with pytest.raises(sdk.APITimeoutError):
        server.client().step_batch(["a"], [1], steps=[1])
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "error", [httpx.ConnectTimeout("far"), httpx.PoolTimeout("busy"), httpx.ReadError("cut")]
)
def test_a_long_call_that_the_server_is_not_working_on_is_sent_again(fake, waits, error):
    server = fake(error, fake.ok(fake.PLAN))
    server.client().plan("s1")
    assert len(server.requests) == 2


def test_a_short_call_that_timed_out_is_sent_again(fake, waits):
    server = fake(httpx.ReadTimeout("late"), fake.ok(fake.RESET))
    server.client().reset()
    assert len(server.requests) == 2


def test_a_server_that_cannot_be_reached_in_time_is_told_from_one_that_is_slow(fake, waits):
    server = fake(httpx.ConnectTimeout("far"))
    with pytest.raises(sdk.APITimeoutError, match=r"no connection to http://dreams\.test within"):
        server.client(max_retries=0).plan("s1")


@pytest.mark.parametrize(
    ("error", "waited_s"), [(httpx.ConnectTimeout("far"), 10), (httpx.PoolTimeout("busy"), 12)]
)
def test_a_timeout_tells_how_long_was_waited(fake, error, waited_s):
    with pytest.raises(sdk.APITimeoutError, match=f"within {waited_s} s"):
        fake(error).client(max_retries=0, timeout_s=12).worlds()


PARTS = {
    "lines of the head": (HEAD, b"x: y\r\n"),
    "bytes of the head": (HEAD, b"x"),
    "bytes of the body": (HEAD + b"\r\n", b" "),
}


def call(url: str, awaited: bool, send: Callable[[Any], Any]) -> None:
    """Send by a client whose calls may take 0.4 s."""
    options: dict[str, Any] = {"timeout_s": 0.4, "max_retries": 0}

    async def wait() -> None:
        async with sdk.AsyncDreamClient(url, **options) as client:
            await send(client)

    if awaited:
        asyncio.run(wait())
    else:
        with sdk.DreamClient(url, **options) as client:
            send(client)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("awaited", [False, True])
def test_a_response_that_trickles_in_is_late_all_the_same(slow, part, awaited):
    slow.trickle(*PARTS[part])
    with ended_after(0.4), pytest.raises(sdk.APITimeoutError, match=r"within 0\.4 s") as raised:
        call(slow.url, awaited, lambda client: client.worlds())
    assert raised.value.sent


def test_a_body_that_trickles_in_is_late_for_an_http_client_of_your_own_too(slow):
    slow.trickle(*PARTS["bytes of the body"])
    with httpx.Client() as http, ended_after(0.4):
        client = sdk.DreamClient(slow.url, http_client=http, timeout_s=0.4, max_retries=0)
        with pytest.raises(sdk.APITimeoutError, match=r"within 0\.4 s"):
            client.worlds()


@pytest.mark.parametrize("awaited", [False, True])
def test_a_request_that_the_server_reads_too_slowly_is_late(slow, awaited):
    slow.answer(lambda connection: connection.recv(4096))
    large = {"data": b"x" * 20_000_000}
    with ended_after(0.4), pytest.raises(sdk.APITimeoutError):
        call(slow.url, awaited, lambda client: client.restore(large))


def test_waiting_for_a_free_connection_counts_too(slow, monkeypatch):
    monkeypatch.setattr("dreamserve_client.transports.pool.CONNECTIONS", 1)
    slow.trickle(*PARTS["bytes of the body"])
    with (
        sdk.DreamClient(slow.url, max_retries=0) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        first = threads.submit(client.with_options(timeout_s=0.4).worlds)
        with ended_after(0.8), pytest.raises(sdk.APITimeoutError):
            client.with_options(timeout_s=0.8).worlds()
        with pytest.raises(sdk.APITimeoutError):
            first.result(PATIENCE_S)
