"""Poisoned requests, one row each with its exact answer, beside two dreams that must not notice."""

import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from dreamserve.api.codec import encode
from dreamserve.engine.fake import fake_world
from dreamserve.engine.simple import SimpleEngine
from dreamserve.validation import validated
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.step import StepRequest

from .poison import message, post
from .poison_documents import DOCUMENTS, IDS
from .poison_framing import FRAMING
from .poison_values import ARRAYS, NUMBERS

PATIENCE_S = 20.0
LIMITS = {"max_dreamt_steps": 1000, "max_rows": 8, "max_frames": 4, "max_forks": 4}
TABLE = {**NUMBERS, **ARRAYS, **DOCUMENTS, **IDS, **FRAMING}


class Server:
    """A server, its port, and two dreams that step on beside their undisturbed twins."""

    def __init__(self, served: Any, http: httpx.Client) -> None:
        self.port, self._http, self._twin = served.port, http, SimpleEngine([fake_world()])
        self._steps = 0
        for name in "st":
            self._compare("/reset", ResetRequest(session_id=name, seed=ord(name)))
        http.post("/reset", json={"world": "box", "session_id": "b"}).raise_for_status()

    def step(self) -> None:
        """Take a step of both dreams."""
        self._steps += 1
        for name in "st":
            if self._steps % 4 == 0:  # before they end
                self._compare("/reset", ResetRequest(session_id=name, seed=self._steps))
            self._compare("/step", StepRequest(name, self._steps % 2, include=["state"]))

    def _compare(self, path: str, request: Any) -> None:
        result = self._twin.send(validated(type(request), request))
        fields = {
            name: getattr(request, name)
            for name in ("session_id", "seed", "action", "include")
            if getattr(request, name, None) is not None
        }
        assert self._http.post(path, json=fields).content == encode(result, as_msgpack=False)

    def send(self, data: bytes) -> tuple[int, dict[str, str], Any]:
        """Send bytes on a connection of their own; return the status, headers and content."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as connection:
            connection.sendall(data)
            received = b""
            while part := connection.recv(65_536):
                received += part
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, orjson.loads(body)


@pytest.fixture(scope="module")
def server(listening: Any) -> Iterator[Server]:
    with (
        listening(max_body_bytes=1_000_000, **LIMITS) as served,
        httpx.Client(base_url=served.url) as http,
    ):
        yield Server(served, http)


@pytest.mark.parametrize("name", TABLE)
def test_poison_gets_its_exact_answer_and_neighbours_dream_on(server: Server, name: str) -> None:
    row = TABLE[name]
    server.step()
    status, headers, problem = server.send(row.sent)
    assert (status, problem["code"]) == (row.status, row.code), problem
    assert headers["content-type"] == "application/problem+json"
    assert re.search(row.detail, problem["detail"]), problem["detail"]
    assert len(problem["detail"]) <= 1000
    server.step()


def test_a_body_that_ends_too_early_is_a_bad_request(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        connection.sendall(post("/step", b'{"session_id": "s"', "Content-Length: 999"))
        connection.shutdown(socket.SHUT_WR)
        assert b'"code":"bad_request"' in connection.recv(65_536)
    server.step()


def test_a_header_cannot_be_smuggled_into_the_response(server: Server) -> None:
    sent = message("GET", "/nowhere%0d%0aevil:%20yes", None, "x-request-id: a%0d%0aevil: yes")
    _, headers, problem = server.send(sent)
    assert "evil" not in headers
    assert problem["request_id"] == headers["x-request-id"]


def test_the_last_of_duplicate_keys_counts(server: Server) -> None:
    sent = post("/reset", b'{"session_id": "d", "seed": 1, "seed": 2}')
    assert server.send(sent)[2]["seed"] == 2
