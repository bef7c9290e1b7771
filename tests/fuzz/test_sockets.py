"""Generated input over real sockets: HTTP, tensors of /v2, and the WebSockets /stream and /ws."""

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx
import msgpack
import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from dreamserve_protocol.arrays import pack
from dreamserve_protocol.errors import ServerError, error_classes
from dreamserve_protocol.markers import Request
from dreamserve_protocol.verbs import BY_REQUEST
from dreamserve_protocol.wire import fields_of

from .mutations import as_json, as_msgpack, mutated_bytes
from .neighbours import Neighbours
from .test_decoding import corpus

PATIENCE_S = 20.0
CASE_S = 0.25  # of client and server together
SMALL = {
    "capacity": 64,
    "max_dreamt_steps": 500,
    "max_rows": 32,
    "max_frames": 16,
    "max_forks": 8,
    "max_rewind": 8,
    "max_kept_bytes": 250_000,
    "max_body_bytes": 100_000,
}
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
OUR_FAULTS = {
    b'"code":"' + kind.code.encode() + b'"'
    for kind in error_classes(ServerError)
    if kind.status == 500 and kind.code != "dream_not_finite"
}
CLOSE_CODES = {1000, 1002, 1003, 1007, 1009}


@dataclass
class Target:
    """A server, a client of it, and two sessions of other callers."""

    port: int
    http: httpx.Client
    neighbours: Neighbours

    def open(self) -> socket.socket:
        """Return a connection."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)


@pytest.fixture(scope="module")
def target(listening: Any) -> Iterator[Target]:
    with listening(**SMALL) as served, httpx.Client(base_url=served.url) as http:

        def send(request: Request[Any]) -> bytes:
            verb = BY_REQUEST[type(request)]
            body = msgpack.packb(fields_of(request), default=pack)
            form = dict.fromkeys(("content-type", "accept"), "application/msgpack")
            response = http.request(verb.method, verb.path, content=body, headers=form)
            assert response.status_code == 200, response.text
            return response.content

        yield Target(served.port, http, Neighbours(send))


@pytest.fixture(autouse=True)
def _nothing_unexpected(target: Target, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that makes the server log an error, or stop."""
    caplog.set_level(logging.ERROR)
    yield
    target.neighbours.step()
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR], caplog.text


def check(response: bytes) -> None:
    """Assert that no response says that the server is at fault."""
    for fault in OUR_FAULTS:
        assert fault not in response, response[:2000]
    statuses = {int(status) for status in STATUS.findall(response)}
    assert not statuses & {500, 502, 504}, response[:2000]


def message(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: a"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


CHUNKED = b'2\r\n{"\r\n9;a=b\r\nseed": 1}\r\n0\r\nA: b\r\n\r\n'
MESSAGES = [
    message("GET", "/sessions/raw?a=b"),
    message("POST", "/reset", b'{"session_id": "raw", "seed": 1}', Content_Type="application/json"),
    message("POST", "/reset", b"\x81\xa4seed\x01", Content_Type="application/msgpack"),
    message("POST", "/reset", Content_Type="application/json", Transfer_Encoding="chunked")
    + CHUNKED,
    message(
        "GET", "/stream", Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Version="13"
    ).replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    + b"\x81\x82\0\0\0\0{}",
    message("POST", "/v2/models/fake/infer", b"{}", Inference_Header_Content_Length="2"),
    message("OPTIONS", "*"),
    message("GET", "http://a/livez", Expect="100-continue") + message("GET", "/worlds"),
]
LINES = [
    b"Host: b",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: 1, 1",
    b"Content-Length: 99999999999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Connection: close",
    b"Connection: Upgrade",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Expect: the unexpected",
    b"x-session-id: raw",
    b"x-session-id: \xff\x00",
    b"x-request-id: a\rb",
    b"Authorization: Bearer x",
    b"Origin: http://evil.example",
    b"Content-Encoding: gzip",
    b" folded: yes",
    b"no colon",
    b": no name",
    b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99",
    b"X: " + b"y" * 70_000,
]


def raw(random: Random) -> bytes:
    head, _, body = random.choice(MESSAGES).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    for _ in range(random.randint(0, 2)):
        lines.insert(random.randint(1, len(lines)), random.choice(LINES))
    end = random.choice([b"\r\n"] * 8 + [b"\n", b"\r"])
    data = end.join([*lines, b"", b""]) + body
    return mutated_bytes(random, data, 2) if random.random() < 0.7 else data


def test_no_bytes_on_a_connection_break_the_server(fuzzer, target: Target) -> None:
    def sent(data: bytes) -> None:
        with target.open() as connection:
            response = b""
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while received := connection.recv(65_536):
                    response += received
            except (ConnectionResetError, BrokenPipeError):
                pass  # the server has closed the connection before it read everything
        check(response)
        if len(data) % 16 == 0:
            target.neighbours.step()

    fuzzer.run(raw, sent, cases=800, case_s=CASE_S)


INFER: dict[str, Any] = {
    "id": "1",
    "parameters": {"sequence_id": "fuzzed", "sequence_start": True, "seed": 7},
    "inputs": [
        {"name": "action", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}
    ],
    "outputs": [{"name": "latent", "parameters": {"binary_data": True}}, {"name": "frame"}],
}


def tensors(random: Random) -> tuple[bytes, str, str]:
    document = as_json(random, INFER, 1) if random.random() < 0.7 else orjson.dumps(INFER)
    data = (1).to_bytes(8, "little")
    data = mutated_bytes(random, data, 1) if random.random() < 0.5 else data
    length = str(random.choice([len(document)] * 6 + [0, -1, 2**64, len(document) + 4]))
    encoding = random.choice(["identity"] * 6 + ["gzip", "deflate", "br"])
    return document + data, length, encoding


def test_no_tensors_break_the_server(fuzzer, target: Target) -> None:
    def infer(case: tuple[bytes, str, str]) -> None:
        body, length, encoding = case
        headers = {"inference-header-content-length": length, "content-encoding": encoding}
        response = target.http.post("/v2/models/fake/infer", content=body, headers=headers)
        assert response.status_code in {200, 400, 404, 409, 410, 413, 415, 422, 429}, response.text
        if len(body) % 16 == 0:
            target.neighbours.step()

    fuzzer.run(tensors, infer, cases=200, case_s=CASE_S)


def stream_frame(random: Random) -> str | bytes:
    ends_others = ("delete_idle", "admin_delete")  # sessions of the neighbours, too
    verb, fields = random.choice([one for one in corpus() if one[0].name not in ends_others])
    envelope = {"id": 1, "verb": verb.name, "body": fields}
    return _frame(random, envelope)


EPISODE: list[dict[str, Any]] = [
    {"type": "reset", "data": {"seed": 7, "include": ["frame"], "episode_id": "one"}},
    {"type": "step", "data": {"action": 1, "metadata": {}}},
    {"type": "step", "data": {"action": 2, "observation": [0.5] * 4}},
    {"type": "state"},
    {"type": "close"},
]


def episode_frame(random: Random) -> str | bytes:
    document = random.choice(EPISODE)
    return orjson.dumps(document).decode() if random.random() < 0.4 else _frame(random, document)


def _frame(random: Random, document: Any) -> str | bytes:
    if random.random() < 0.5:
        return as_msgpack(random, document, 2)
    text = as_json(random, document, 2)
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


@pytest.mark.parametrize(("path", "make"), [("/stream", stream_frame), ("/ws", episode_frame)])
def test_no_frames_break_the_server(fuzzer, target: Target, path: str, make: Any) -> None:
    url = f"ws://127.0.0.1:{target.port}{path}"
    opened: list[ClientConnection] = []

    def send(frame: str | bytes) -> None:
        if not opened:
            socket = connect(url, compression=None, max_size=None, open_timeout=PATIENCE_S)
            opened.append(stack.enter_context(socket))
        try:
            opened[0].send(frame)
            response = opened[0].recv(timeout=PATIENCE_S)
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else None
        else:
            check(response.encode() if isinstance(response, str) else response)
            code = None
        if len(frame) % 16 == 0:
            target.neighbours.step()
        if opened[0].close_code is not None:
            assert code in CLOSE_CODES, frame
            opened.clear()
            stack.close()  # else hours of closed connections would count as the server's memory

    with ExitStack() as stack:
        fuzzer.run(make, send, cases=200, case_s=CASE_S)
