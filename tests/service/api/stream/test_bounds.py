"""What one client can make the server hold, and for how long: real sockets, small settings."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from dreamserve.api import connections
from dreamserve.api.memory import wire_memory
from dreamserve.settings import Settings
from dreamserve_protocol.errors import InvalidRequestError

PATIENCE_S = 20.0
RESETS = {"/stream": {"id": 1, "verb": "reset", "body": {}}, "/ws": {"type": "reset"}}
LARGE = {"start": {"bank": 1}, "futures": 500, "horizon": 200, "seed": 1}  # a response of 4 MB


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition on the server holds."""
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0)


class Client:
    """A raw connection that reads only when told to."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))

    def post(self, path: str, body: bytes, declared: int | None = None) -> "Client":
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        length = f"Content-Length: {declared or len(body)}\r\n\r\n"
        self.socket.sendall((head + length).encode() + body)
        return self

    def begun(self) -> str:
        """Return the first bytes of a response."""
        return self.socket.recv(1 << 16).decode()

    def is_closed(self) -> bool:
        """Return whether the server has ended the connection, having read what it sent."""
        try:
            while self.socket.recv(1 << 20):
                pass
        except ConnectionResetError:
            pass
        return True


@pytest.fixture
def dial() -> Iterator[Callable[[Any], Client]]:
    """Return a function that connects a client."""
    clients: list[Client] = []

    def dialled(served: Any) -> Client:
        clients.append(Client(served.port))
        return clients[-1]

    yield dialled
    for client in clients:
        client.socket.close()


@contextmanager
def stream(served: Any) -> Iterator[ClientConnection]:
    url = f"ws://127.0.0.1:{served.port}/stream"
    with connect(url, max_size=None, max_queue=1, close_timeout=0.1) as socket:
        yield socket


def close_code(socket: ClientConnection) -> int | None:
    """Return the code with which the server closes a socket."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(PATIENCE_S)
    return closed.value.rcvd and closed.value.rcvd.code


def test_unfinished_bodies_together_are_bounded(listening, dial) -> None:
    with listening(max_bodies_bytes=200_000) as served, httpx.Client(base_url=served.url) as http:
        held = served.app.service.connections.bodies
        holding = dial(served).post("/reset", b" " * 150_000, 1_000_000)
        until(lambda: held.held >= 150_000)
        refused = http.post("/reset", content=b"{}" + b" " * 100_000, headers=JSON)
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert "200000 bytes" in refused.json()["detail"]
        assert http.post("/reset", json={}).status_code == 200  # a small one does not count
        holding.socket.close()
        until(lambda: not held.held)
        accepted = http.post("/reset", content=b"{}" + b" " * 100_000, headers=JSON)
        assert accepted.status_code == 200
        until(lambda: not held.held)


JSON = {"content-type": "application/json"}


def test_unfinished_messages_of_a_stream_count_as_bodies(listening) -> None:
    with listening(max_bodies_bytes=200_000) as served, stream(served) as one:
        held = served.app.service.connections.bodies
        partly(one, 150_000)
        until(lambda: held.held > 140_000)
        with stream(served) as other:
            partly(other, 100_000)
            assert close_code(other) == CloseCode.TRY_AGAIN_LATER
        one.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: not held.held)


def partly(socket: ClientConnection, size: int) -> None:
    """Send a part of a message."""
    socket.socket.sendall(Frame(Opcode.TEXT, bytes(10 * size)).serialize(mask=True)[:size])


def test_a_large_message_counts_until_it_is_answered(listening) -> None:
    with listening(max_bodies_bytes=200_000) as served, stream(served) as one:
        held = served.app.service.connections.bodies
        for i in range(5):
            one.send(json.dumps({"id": i, "verb": "reset", "body": {}}) + " " * 150_000)
            assert json.loads(one.recv(PATIENCE_S))["status"] == 200
        until(lambda: not held.held)


def test_a_stream_leaves_most_of_the_bytes_of_bodies_to_others(listening) -> None:
    with listening(max_bodies_bytes=4_000_000) as served, stream(served) as one:
        shared = served.app.service.connections
        until(lambda: shared.sockets)
        (socket_of_one,) = shared.sockets
        with served.app.service.engine._turning:  # no request is answered meanwhile
            for i in range(12):
                one.send(json.dumps({"id": i, "verb": "worlds", "body": {}}) + " " * 150_000)
            until(lambda: socket_of_one._body_bytes >= 1_000_000)
            for _ in range(20_000):
                time.sleep(0)
                assert socket_of_one._body_bytes < 1_200_000  # of 1,800,000
        for _ in range(12):
            assert json.loads(one.recv(PATIENCE_S))["status"] == 200
        until(lambda: not shared.bodies.held)


def test_a_message_that_takes_too_long_closes_its_stream(listening) -> None:
    with listening(transfer_timeout_s=0.1) as served, stream(served) as one:
        partly(one, 10)
        assert close_code(one) == CloseCode.POLICY_VIOLATION


def test_a_message_of_very_many_parts_closes_its_stream(listening) -> None:
    with listening() as served, stream(served) as one:
        parts = Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True)
        parts += Frame(Opcode.CONT, b"", fin=False).serialize(mask=True) * 2000
        one.socket.sendall(parts)
        assert close_code(one) == CloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize("path", ["/stream", "/ws"])
def test_a_websocket_without_messages_is_closed(listening, path) -> None:
    with (
        listening(socket_idle_timeout_s=0.1) as served,
        connect(f"ws://127.0.0.1:{served.port}{path}") as socket,
    ):
        assert close_code(socket) == CloseCode.GOING_AWAY


@pytest.mark.parametrize("path", ["/stream", "/ws"])
def test_a_websocket_is_idle_again_once_its_messages_are_answered(listening, path) -> None:
    with (
        listening(socket_idle_timeout_s=0.1) as served,
        connect(f"ws://127.0.0.1:{served.port}{path}") as socket,
    ):
        for _ in range(3):
            socket.send(json.dumps(RESETS[path]))
            assert "latent" in socket.recv(PATIENCE_S)
        assert close_code(socket) == CloseCode.GOING_AWAY


@pytest.fixture
def hold(monkeypatch) -> Callable[[Any], list[Any]]:
    """Return a function that lets a server keep its requests; it returns where their futures go."""

    def held_of(served: Any) -> list[Any]:
        held: list[Any] = []
        engine = served.app.service.async_engine
        monkeypatch.setattr(engine, "queue", lambda _, future, *__: held.append(future))
        return held

    return held_of


@pytest.mark.parametrize("path", RESETS)
def test_a_websocket_is_not_idle_while_a_request_is_in_progress(listening, hold, path) -> None:
    with (
        listening(socket_idle_timeout_s=0.1) as served,
        connect(f"ws://127.0.0.1:{served.port}{path}") as socket,
    ):
        held = hold(served)
        socket.send(json.dumps(RESETS[path]))
        until(lambda: held)
        for _ in range(3):
            with stream(served) as idle:
                assert close_code(idle) == CloseCode.GOING_AWAY
        answer = partial(held[0].set_exception, InvalidRequestError("at last"))
        served.app.service.async_engine._loop.call_soon_threadsafe(answer)
        assert "at last" in socket.recv(PATIENCE_S)
        assert close_code(socket) == CloseCode.GOING_AWAY


@pytest.mark.parametrize("path", RESETS)
def test_a_websocket_makes_no_room_while_a_request_is_in_progress(
    listening, dial, hold, path
) -> None:
    with (
        listening(max_connections=2, idle_timeout_s=0.4) as served,
        connect(f"ws://127.0.0.1:{served.port}{path}", close_timeout=0.1) as socket,
    ):
        held = hold(served)
        socket.send(json.dumps(RESETS[path]))
        until(lambda: held)
        assert dial(served).is_closed()  # after a time in which the socket was looked at, too
        younger = dial(served)
        with httpx.Client(base_url=served.url) as http:
            assert http.get("/livez").status_code == 200
            assert younger.is_closed()
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0)


def test_who_does_not_read_a_response_in_time_is_disconnected(listening, dial) -> None:
    with listening(transfer_timeout_s=0.3) as served:
        shared = served.app.service.connections
        client = dial(served).post("/sample", json.dumps(LARGE).encode())
        until(lambda: shared.slow_readers)
        until(lambda: not shared.slow_readers)
        assert client.is_closed()
        assert shared.responses.held == 0
        assert shared.results.held == 0


def test_a_stream_that_is_not_read_in_time_is_closed(listening) -> None:
    with listening(transfer_timeout_s=0.3) as served, stream(served) as one:
        shared = served.app.service.connections
        for i in range(8):
            one.send(json.dumps({"id": i, "verb": "sample", "body": LARGE}))
        until(lambda: shared.slow_readers)
        until(lambda: not (shared.responses.held or shared.results.held or shared.sockets))


def test_who_has_stalled_makes_room_for_others(listening, dial, monkeypatch) -> None:
    monkeypatch.setattr(connections, "STALLED_S", 0.2)
    body = json.dumps(LARGE).encode()
    with listening(max_responses_bytes=6_000_000, transfer_timeout_s=4) as served:
        shared = served.app.service.connections
        stalled = [dial(served).post("/sample", body) for _ in range(3)]
        until(lambda: shared.responses.held + shared.results.held > 6_000_000)
        with httpx.Client(base_url=served.url, timeout=PATIENCE_S) as http:
            until(lambda: http.post("/sample", json=LARGE).status_code == 200)
        assert shared.responses.held < 12_000_000
        assert any(client.is_closed() for client in stalled[:1])


def test_the_longest_idle_connections_make_room_for_new_ones(listening, dial, caplog) -> None:
    with listening(max_connections=4) as served:
        oldest = dial(served)
        with httpx.Client(
            base_url=served.url
        ) as http:  # those that follow are younger, by the clock
            assert http.get("/livez").status_code == 200
        idle = [dial(served) for _ in range(11)]
        with httpx.Client(base_url=served.url) as http:
            assert http.post("/reset", json={}).status_code == 200
        assert oldest.is_closed()
        assert "Content-Type" not in idle[-1].post("/reset", b"{}").begun().split("\r\n")[0]
    (record,) = caplog.records
    assert "4 connections, the limit, are open: closed those that were idle" in record.message


def test_beyond_the_limit_of_busy_connections_only_probes_are_answered(
    listening, dial, caplog
) -> None:
    long = {"policy": "random", "episodes": 500, "max_steps": 4000}
    with listening(max_connections=2, max_wait_s=1e6) as served:
        server = [dial(served).post("/rollout", json.dumps(long).encode()) for _ in range(2)]
        engine = served.app.service.engine
        until(lambda: not engine.idle)
        with httpx.Client(base_url=served.url) as http:
            until(lambda: http.get("/worlds").status_code == 429 or engine.idle)
            refused = http.get("/worlds")
            assert not engine.idle, "the rollouts were too short"
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            assert refused.headers["connection"] == "close"
            for path in ("/livez", "/readyz"):
                answered = http.get(path)
                assert (answered.status_code, answered.headers["connection"]) == (200, "close")
        assert len(server) == 2
    assert "new ones are refused" in caplog.records[-1].message


def test_few_requests_wait_on_one_connection(listening, dial) -> None:
    with listening() as served:
        client = dial(served)
        client.socket.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
        received = b""
        while piece := client.socket.recv(1 << 16):
            received += piece
        assert received.count(b"HTTP/1.1 200") == 101
        assert received.count(b"HTTP/1.1 429") == 1


def test_the_most_memory_follows_from_the_settings() -> None:
    default = wire_memory(Settings())
    assert min(default.values()) > 0
    assert sum(default.values()) < 5 * 2**30
    for name in (
        "max_bodies_bytes",
        "max_responses_bytes",
        "max_connections",
        "max_body_bytes",
        "max_elements",
        "max_lists",
        "max_head_bytes",
        "max_queue",
        "max_jobs",
        "max_job_bytes",
    ):
        halved = Settings(**{name: getattr(Settings(), name) // 2})
        assert sum(wire_memory(halved).values()) < sum(default.values()), name
