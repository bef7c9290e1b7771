"""The lines that requests over a WebSocket, and bytes that are not HTTP, leave in the log."""

import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio
PATIENCE_S = 30.0


@pytest.fixture
def served(listening: Callable[..., Any]) -> Iterator[Any]:
    with listening(access_log=True) as served:
        yield served


def fields(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [
        record.fields
        for record in caplog.records
        if record.message == message and record.fields.get("path") != "/readyz"
    ]


async def test_a_message_on_the_stream_leaves_its_lines(served, peer_of, caplog) -> None:
    caplog.set_level(logging.INFO, "dreamserve")
    async with peer_of(served) as peer:
        await peer.ask("reset", session_id="s1")
        answer = await peer.ask("step", session_id="nobody", action=1)
    (problem,) = fields(caplog, "problem")
    assert problem.pop("duration_ms") > 0
    assert problem == {
        "request_id": answer["body"]["request_id"],
        "verb": "step",
        "session_id": "nobody",
        "status": 404,
        "code": "session_not_found",
    }
    reset, step = fields(caplog, "request")
    assert (reset["verb"], reset["session_id"], reset["status"]) == ("reset", "s1", 200)
    assert (step["status"], step["transport"]) == (404, "stream")


async def test_open_sockets_are_counted(served, peer_of) -> None:
    async def shown() -> str:
        async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S) as http:
            return (await http.get("/metrics")).text

    async with peer_of(served) as peer:
        await peer.ask("worlds")
        assert 'dreamserve_open_sockets{transport="stream"} 1.0' in await shown()
    for _ in range(1000):
        if 'dreamserve_open_sockets{transport="stream"} 0.0' in await shown():
            return
    raise AssertionError("the socket is still counted")


def test_bytes_that_are_not_http_leave_a_line(served, caplog) -> None:
    caplog.set_level(logging.INFO, "dreamserve")
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE_S) as peer:
        peer.sendall(b"\x1b[31mgarbage\r\n\r\n")
        response = peer.makefile("rb").read().decode()
    (problem,) = fields(caplog, "problem")
    assert problem["code"] == "bad_request"
    assert problem["request_id"] in response
    assert served.app.service.problems.counts["other", "bad_request", 400] == 1
