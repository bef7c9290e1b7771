"""One client cannot take a bound of all from the others: real sockets, a small setting."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

PATIENCE_S = 20.0
BODIES_BYTES = 1_000_000
HEAD = (
    b"POST /reset HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"X-Forwarded-For: 10.0.0.1\r\nContent-Length: 900000\r\n\r\n"
)


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition on the server holds."""
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0)


@pytest.fixture
def dial() -> Iterator[Callable[[Any], socket.socket]]:
    """Return a function that sends a client's head and 100,000 of its 900,000 bytes."""
    opened: list[socket.socket] = []

    def dialled(served: Any) -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", served.port), PATIENCE_S))
        opened[-1].sendall(HEAD + b" " * 100_000)
        return opened[-1]

    yield dialled
    for one in opened:
        one.close()


def client(served: Any, number: int) -> httpx.Client:
    headers = {"x-forwarded-for": f"10.0.0.{number}", "content-type": "application/json"}
    return httpx.Client(base_url=served.url, headers=headers, timeout=PATIENCE_S)


def test_a_client_with_many_unfinished_bodies_leaves_room_for_one_of_another(
    listening, dial
) -> None:
    with listening(max_bodies_bytes=BODIES_BYTES, trusted_proxies="*") as served:
        held = served.app.service.connections.bodies
        greedy = [dial(served) for _ in range(12)]
        until(lambda: held.held + 100_000 * len(refused(greedy)) == 1_200_000)
        assert 400_000 <= held.held <= BODIES_BYTES / 2
        with client(served, 2) as other:
            large = b"{}" + b" " * 450_000
            assert other.post("/reset", content=large).status_code == 200
        with client(served, 1) as of_greedy:
            answer = of_greedy.post("/reset", content=large)
            assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
            assert "your share" in answer.json()["detail"]


def refused(sockets: list[socket.socket]) -> list[socket.socket]:
    """Return those that have a response."""
    return select.select(sockets, [], [], 0)[0]
