"""The lines that requests over a WebSocket, and bytes that are not HTTP, leave in the log."""

import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

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
    opened, reset, step = fields(caplog, "request")
    assert (opened["method"], opened["path"], opened["status"]) == ("GET", "/stream", 101)
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
    (request,) = fields(caplog, "request")
    assert (request["status"], request["request_id"]) == (400, problem["request_id"])
    assert "path" not in request  # none could be read


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", ("CONNECT", "a:1", 501)),
        (
            b"GET /stream?k=s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\n\r\n",
            ("GET", "/stream", 400),
        ),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", ("PUT", "/a", 501)),
    ],
)
def test_a_request_that_is_refused_for_its_head_leaves_a_line(served, caplog, sent, line) -> None:
    caplog.set_level(logging.INFO, "dreamserve")
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE_S) as peer:
        peer.sendall(sent)
        peer.makefile("rb").read()
    (request,) = fields(caplog, "request")
    assert (request["method"], request["path"], request["status"]) == line


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/stream", "https://evil.example", 403),
        ("/ws", "https://evil.example", 403),
        ("/no", "", 404),
    ],
)
def test_a_handshake_that_is_refused_leaves_a_line(served, caplog, path, origin, status) -> None:
    caplog.set_level(logging.INFO, "dreamserve")
    headers = {"Origin": origin} if origin else {}
    with pytest.raises(InvalidStatus, match=str(status)):
        connect(f"ws://127.0.0.1:{served.port}{path}?key=s", additional_headers=headers).__enter__()
    (request,) = fields(caplog, "request")
    assert (request["method"], request["path"], request["status"]) == ("GET", path, status)
    assert request["duration_ms"] > 0


def test_openenv_s_handshake_and_messages_leave_lines(served, caplog) -> None:
    caplog.set_level(logging.INFO, "dreamserve")
    with connect(f"ws://127.0.0.1:{served.port}/ws") as peer:
        for message in ('{"type": "reset"}', '{"type": "step", "data": {"action": 9}}', "{"):
            peer.send(message)
            peer.recv(PATIENCE_S)
    opened, reset, step, broken = fields(caplog, "request")
    assert (opened["path"], opened["status"]) == ("/ws", 101)
    assert (reset["verb"], reset["status"], reset["transport"]) == ("reset", 200, "openenv")
    assert (step["verb"], step["status"]) == ("step", 422)
    assert (step["session_id"], reset["duration_ms"] > 0) == (reset["session_id"], True)
    assert (broken["verb"], broken["status"]) == ("other", 422)
    assert broken["request_id"] == f"{opened['request_id']}.3"


def test_preflights_of_web_pages_leave_lines(listening, caplog) -> None:
    caplog.set_level(logging.INFO, "dreamserve")
    with listening(access_log=True, allowed_origins="https://a.example") as served:
        for origin in ("https://a.example", "https://b.example"):
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            httpx.options(f"{served.url}/step?k=s", headers=asked)
    accepted, refused = fields(caplog, "request")
    assert (accepted["method"], accepted["path"], accepted["status"]) == ("OPTIONS", "/step", 200)
    (problem,) = fields(caplog, "problem")
    assert (refused["status"], refused["request_id"]) == (403, problem["request_id"])
