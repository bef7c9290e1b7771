"""How the server handles valid HTTP of clients and proxies, and invalid HTTP.

The application echoes its request as JSON. Most tests talk to a real server over a socket; the
splitting of bytes into packets is tested on the protocol itself.
"""

import asyncio
import contextlib
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from dreamserve.api import closing, wire
from dreamserve.api.connections import Connections
from dreamserve.api.groups import FEW_JOBS, Groups
from dreamserve.settings import Settings

PATIENCE_S = 10.0
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
GATE = asyncio.Event()
PING = b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n"


def post(body: bytes, extra: bytes = b"", target: bytes = b"/post") -> bytes:
    head = b"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n" % (target, len(body))
    return head + extra + b"\r\n" + body


def chunked(*chunks: bytes, trailers: bytes = b"", target: bytes = b"/post") -> bytes:
    head = b"POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" % target
    sizes = (b"%x;name=value\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + b"".join(sizes) + b"0\r\n" + trailers + b"\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Echo the request; /early before its body, /gate once /open was requested, /never never."""
    if scope["path"] == "/open":
        GATE.set()
    if scope["path"] == "/gate":
        await GATE.wait()
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"] or scope["path"] == "/never"
    fields = {key: scope[key] for key in ("method", "path", "http_version")}
    fields["query"] = scope["query_string"].decode()
    fields["headers"] = {name.decode(): value.decode() for name, value in scope["headers"]}
    content = json.dumps({**fields, "body": body.decode()}).encode()
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class WebSocket(asyncio.Protocol):
    """Takes over a connection and reports the bytes it got."""

    def __init__(self, **_: Any) -> None: ...

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"taken over: " + data)
        self.transport.close()


class Connection:
    """A client that sends bytes and reads responses."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.received = b""

    def send(self, *packets: bytes) -> "Connection":
        for packet in packets:
            self.socket.sendall(packet)
        return self

    def close_writing(self) -> "Connection":
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def response(self) -> tuple[int, dict[str, str], Any]:
        """Return the status, headers and content of the next response."""
        while b"\r\n\r\n" not in self.received:
            self._receive()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        while len(self.received) < length:
            self._receive()
        content, self.received = self.received[:length], self.received[length:]
        return int(status.split()[1]), headers, json.loads(content) if content else None

    def echoed(self) -> Any:
        """Return the request that the application echoes; the status must be 200."""
        status, _, content = self.response()
        assert status == 200, content
        return content

    def assert_refused(self, status: int, code: str) -> None:
        """Assert that the next response is a problem document, and the last one."""
        got, headers, content = self.response()
        assert (got, content["status"], content["code"]) == (status, status, code)
        assert headers["content-type"] == "application/problem+json"
        assert headers["x-request-id"] == content["request_id"]
        assert headers["connection"] == "close"
        self.assert_closed()

    def assert_closed(self) -> None:
        assert (self.received, self.socket.recv(100)) == (b"", b"")

    def _receive(self) -> None:
        data = self.socket.recv(1 << 16)
        assert data, f"closed after {self.received!r}"
        self.received += data


def protocol(**changed: Any) -> Any:
    """Return the protocol with changed settings."""
    return partial(wire.Protocol, shared=Connections(Settings(**changed)))


@contextlib.contextmanager
def serving(**changed: Any) -> Iterator[uvicorn.Server]:
    """Serve with changed settings."""
    config = uvicorn.Config(
        echo,
        http=protocol(**changed),
        ws=WebSocket,
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config.port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()  # connections wait in the backlog until it serves
        yield server
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Iterator[uvicorn.Server]:
    with serving() as server:
        yield server


@pytest.fixture
def client(server: uvicorn.Server) -> Iterator[Connection]:
    connection = Connection(server.config.port)
    yield connection
    connection.socket.close()


def test_an_upgrade_that_is_not_taken_changes_nothing(client: Connection) -> None:
    echoed = client.send(post(b"the body", UPGRADE), PING).echoed()
    assert (echoed["method"], echoed["path"], echoed["body"]) == ("POST", "/post", "the body")
    assert "upgrade" not in echoed["headers"]
    assert client.echoed()["path"] == "/ping"


def test_an_upgrade_to_a_websocket_by_post_changes_nothing(client: Connection) -> None:
    extra = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    assert client.send(post(b"the body", extra)).echoed()["body"] == "the body"


KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"


def handshake(*headers: bytes, target: bytes = b"/stream", host: bytes = b"Host: h\r\n") -> bytes:
    extra = b"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
    return b"GET " + target + b" HTTP/1.1\r\n" + host + extra + b"".join(headers) + b"\r\n"


@pytest.mark.parametrize("target", [b"/stream", b"http://h/stream"])
def test_a_websocket_is_handed_over(client: Connection, target: bytes) -> None:
    client.send(handshake(KEY, VERSION, target=target))
    taken_over = client.socket.makefile("rb").read()
    assert taken_over.startswith(b"taken over: GET /stream HTTP/1.1\r\nhost: h\r\n")


@pytest.mark.parametrize(
    "sent",
    [
        handshake(),
        handshake(KEY),
        handshake(VERSION),
        handshake(KEY, KEY, VERSION),
        handshake(b"Sec-WebSocket-Key: short\r\n", VERSION),
        handshake(KEY, b"Sec-WebSocket-Version: 8\r\n"),
        handshake(KEY, VERSION, host=b""),
        handshake(KEY, VERSION, host=b"Host: h\r\nHost: h\r\n"),
        handshake(KEY, VERSION, b"Content-Length: 5\r\n"),
        handshake(KEY, VERSION, b"Transfer-Encoding: chunked\r\n"),
        handshake(KEY, VERSION, b"Sec-WebSocket-Protocol: @\r\n"),
        handshake(KEY, VERSION, b"Cookie: " + b"a" * 9_000 + b"\r\n"),
        b"GET /stream HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        + KEY
        + VERSION
        + b"\r\n",
    ],
)
def test_an_invalid_handshake_is_refused_with_a_reason(client: Connection, sent: bytes) -> None:
    client.send(sent).assert_refused(400, "bad_request")


def test_trailers_do_not_become_headers(client: Connection) -> None:
    echoed = client.send(chunked(b"ab", b"cd", trailers=b"X-Session-Id: other\r\n"), PING).echoed()
    assert (echoed["body"], "x-session-id" in echoed["headers"]) == ("abcd", False)
    assert client.echoed()["path"] == "/ping"


@pytest.mark.parametrize("target", [b"http://host:80/a?b=c", b"HTTP://user@host:80/a?b=c"])
def test_a_target_may_be_absolute(client: Connection, target: bytes) -> None:
    echoed = client.send(post(b"", target=target)).echoed()
    assert (echoed["path"], echoed["query"], echoed["headers"]["host"]) == ("/a", "b=c", "host:80")
    echoed = client.send(b"OPTIONS http://host:80?b=c HTTP/1.1\r\nHost: h\r\n\r\n").echoed()
    assert (echoed["path"], echoed["query"]) == ("/", "b=c")


def test_space_around_a_headers_value_is_stripped(client: Connection) -> None:
    assert client.send(post(b"", b"A:\t b c \t\r\n")).echoed()["headers"]["a"] == "b c"


def test_empty_lines_may_come_before_a_request(client: Connection) -> None:
    assert client.send(b"\r\n\r\n", PING, b"\r\n", PING).echoed() == client.echoed()


def test_http_1_0_needs_no_host_and_is_told_to_close(client: Connection) -> None:
    status, headers, echoed = client.send(b"GET /ping HTTP/1.0\r\n\r\n").response()
    assert (status, headers["connection"], echoed["http_version"]) == (200, "close", "1.0")
    client.assert_closed()


def test_nothing_is_answered_after_the_last_request_of_a_connection(client: Connection) -> None:
    client.send(post(b"1", b"Connection: close\r\n") + PING + b"NOT HTTP").echoed()
    client.assert_closed()


def test_a_client_that_expects_a_100_gets_it_and_keeps_its_connection(client: Connection) -> None:
    request = post(b"the body", b"Expect: 100-continue\r\n")
    assert client.send(request[:-8]).response()[0] == 100
    assert client.send(request[-8:]).echoed()["body"] == "the body"
    assert client.send(PING).echoed()["path"] == "/ping"


def test_a_response_instead_of_a_100_closes_the_connection(client: Connection) -> None:
    request = post(b"the body", b"Expect: 100-continue\r\n", b"/early")
    status, headers, _ = client.send(request[:-8]).response()
    assert (status, headers["connection"]) == (200, "close")
    client.assert_closed()


def test_http_1_0_gets_no_100(client: Connection) -> None:
    request = post(b"the body", b"Expect: 100-continue\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert client.send(request).echoed()["body"] == "the body"


def test_a_client_that_closes_its_writing_half_gets_its_responses(server, client) -> None:
    client.send(post(b"1", target=b"/gate") + PING).close_writing()
    opening = Connection(server.config.port)
    opening.send(post(b"", target=b"/open")).echoed()  # read after the other side has closed
    opening.socket.close()
    assert client.echoed()["body"] == "1"
    assert client.echoed()["path"] == "/ping"
    client.assert_closed()


def test_a_half_closed_client_waits_for_its_response_as_long_as_it_takes(
    server: uvicorn.Server, client: Connection, monkeypatch
) -> None:
    GATE.clear()
    monkeypatch.setattr(closing, "HALF_CLOSED_S", 0.01)
    client.send(post(b"1", target=b"/gate")).close_writing()
    assert [client.response()[0] for _ in range(3)] == [100] * 3  # interim, which clients skip
    opening = Connection(server.config.port)
    opening.send(post(b"", target=b"/open")).echoed()
    opening.socket.close()
    while (response := client.response())[0] == 100:
        pass
    assert response[2]["body"] == "1"
    client.assert_closed()


def test_long_work_ends_for_a_client_that_is_gone(server: uvicorn.Server, monkeypatch) -> None:
    monkeypatch.setattr(closing, "HALF_CLOSED_S", 0.01)
    gone = Connection(server.config.port).send(post(b"1", target=b"/never"))
    wait_until(lambda: server.server_state.tasks)
    gone.socket.close()
    wait_until(lambda: not server.server_state.tasks)


@pytest.mark.parametrize("sent", [b"GET /pi", PING[:-2], post(b"the body")[:-1]])
def test_a_request_that_ends_too_soon_is_refused(client: Connection, sent: bytes) -> None:
    client.send(sent).close_writing().assert_refused(400, "bad_request")


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition on the server holds."""
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s


@pytest.fixture(scope="module")
def hasty() -> Iterator[uvicorn.Server]:
    """Return a server that waits for requests only briefly."""
    with serving(head_timeout_s=0.1, transfer_timeout_s=0.1) as server:
        yield server


@pytest.fixture
def watched(hasty: uvicorn.Server) -> Iterator[Connection]:
    connection = Connection(hasty.config.port)
    yield connection
    connection.socket.close()


@pytest.mark.parametrize("sent", [b"GET /pi", PING + PING[:-2], post(b"the body")[:-1]])
def test_a_request_that_stalls_is_refused(watched: Connection, sent: bytes) -> None:
    watched.send(sent)
    if sent.startswith(PING):
        watched.echoed()
    watched.assert_refused(408, "request_timeout")


@pytest.mark.parametrize(
    ("begin", "piece"),
    [(b"GET / HTTP/1.1\r\n", b"A: b\r\n"), (post(bytes(10_000))[:-10_000], b"a")],
)
def test_a_request_that_trickles_is_refused(
    watched: Connection, begin: bytes, piece: bytes
) -> None:
    watched.socket.settimeout(0.01)
    watched.send(begin)
    for _ in range(1000):
        watched.send(piece)
        with contextlib.suppress(TimeoutError):
            return watched.assert_refused(408, "request_timeout")
    raise AssertionError("never refused")


@pytest.mark.parametrize("request_", [b"", PING, b"\r\n"])
def test_an_idle_connection_is_closed(request_: bytes) -> None:
    with serving(idle_timeout_s=0.05) as server:
        connection = Connection(server.config.port).send(request_)
        if request_ == PING:
            connection.echoed()
        connection.assert_closed()
        connection.socket.close()


def test_long_work_is_waited_for(watched: Connection) -> None:
    watched.send(post(b"1", target=b"/never"))
    watched.socket.settimeout(0.4)
    with pytest.raises(TimeoutError):
        watched.response()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"NOT HTTP\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "bad_request"),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
        (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"),
        (b"GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400, "bad_request"),
        (post(b"", b"A: folded\r\n value\r\n"), 400, "bad_request"),
        (post(b"", b"A: \x00\r\n"), 400, "bad_request"),
        (post(b"1", b"Transfer-Encoding: chunked\r\n"), 400, "bad_request"),
        (chunked(b"1").replace(b"\r\n0\r\n", b"\r\nzero\r\n"), 400, "bad_request"),
        (chunked(b"1").replace(b"chunked", b"gzip, chunked"), 501, "not_implemented"),
        (b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", 501, "not_implemented"),
        (post(b"1", b"A: " + b"a" * 65_536 + b"\r\n"), 431, "headers_too_large"),
        (post(b"1", b"A: " + b"a" * 65_536 + b"\r\n" + UPGRADE), 431, "headers_too_large"),
        (post(b"1", b"A: b\r\n" * 12_000), 431, "headers_too_large"),
        (post(b"1", target=b"/" + b"a" * 65_536), 431, "headers_too_large"),
        (chunked(b"1", trailers=b"A: " + b"a" * 400_000), 431, "headers_too_large"),
        (post(b"1", b"A: b\r\n" * 127), 431, "headers_too_large"),
        (post(b"1", b"a:\r\n" * 126 + UPGRADE), 431, "headers_too_large"),
        (chunked(b"1", trailers=b"a:\r\n" * 129), 431, "headers_too_large"),
        (handshake(KEY, VERSION, b"a:\r\n" * 130), 431, "headers_too_large"),
    ],
)
def test_an_unservable_request_is_refused_in_order(client, sent, status, code) -> None:
    assert client.send(PING + post(b"1") + sent).echoed()["path"] == "/ping"
    assert client.echoed()["body"] == "1"
    client.assert_refused(status, code)


def test_a_head_of_many_headers_is_served(client: Connection) -> None:
    headers = b"".join(b"a%d: b\r\n" % i for i in range(126))
    assert client.send(post(b"1", headers)).echoed()["headers"]["a125"] == "b"
    assert client.send(chunked(b"1", trailers=b"a: b\r\n" * 128)).echoed()["body"] == "1"


def test_a_large_body_does_not_count_as_head(client: Connection) -> None:
    body = b"a" * 1_000_000
    assert len(client.send(PING + post(body, b"A: " + b"a" * 60_000 + b"\r\n")).echoed()) == 6
    assert len(client.echoed()["body"]) == len(body)


def test_a_client_that_keeps_sending_can_read_the_refusal(client: Connection) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nA: ", *[b"a" * 1_000_000] * 50)
    client.close_writing().assert_refused(431, "headers_too_large")


def test_a_malformed_body_after_its_response_ends_the_connection(client: Connection) -> None:
    client.send(chunked(b"1", target=b"/early")[:-5]).echoed()
    client.send(b"zero\r\n").assert_closed()


def test_an_internal_error_is_reported_as_such(client: Connection, monkeypatch) -> None:
    monkeypatch.setattr(wire.heads, "is_unusual", lambda *_: 1 / 0)
    client.send(PING).assert_refused(500, "internal_error")


STREAMS = {
    "upgrades": post(b"Upgrade: h2c\r\n\r\n", UPGRADE) + PING + post(b"2", UPGRADE) + PING,
    "the last of a connection": post(b"1", UPGRADE + b"Connection: close\r\n"),
    "pipelined": b"\r\n" + PING + post(b"1") + chunked(b"ab", b"c", trailers=b"X: y\r\n") + PING,
    "absolute": post(b"1", target=b"http://other:80/a?b=c") + PING,
    "an upgrade without a host": b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n",
    "not HTTP behind good ones": PING + post(b"1") + b"NOT HTTP\r\n\r\n",
    "a chunk that is none": PING + chunked(b"1").replace(b"\r\n0\r\n", b"\r\nzero\r\n"),
}


@pytest.mark.parametrize("name", STREAMS)
@given(data=st.data())
def test_splitting_bytes_into_packets_changes_nothing(name: str, data: st.DataObject) -> None:
    stream = STREAMS[name]
    cuts = data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=40), "cuts")
    ends = [*sorted(cuts), len(stream)]
    packets = [stream[a:b] for a, b in itertools.pairwise([0, *ends])]
    assert talk(packets) == talk([stream])
    assert talk(packets, waiting=True) == talk([stream])


def test_bytes_sent_one_by_one_change_nothing() -> None:
    for stream in STREAMS.values():
        assert talk([stream[i : i + 1] for i in range(len(stream))]) == talk([stream])


@pytest.mark.anyio
async def test_a_request_that_waits_is_read_with_its_group() -> None:
    connection, transport = connected(waiting=True)
    connection.data_received(PING)
    await asyncio.sleep(0)
    assert not connection.tasks
    connection.shared.groups.read()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait(set(connection.tasks))
    assert transport.written.startswith(b"HTTP/1.1 200")


def talk(packets: list[bytes], waiting: bool = False) -> bytes:
    """Return the output for `packets`, without a socket and with request ids replaced.

    `waiting`: as if all requests were read in groups.
    """
    written = asyncio.run(asyncio.wait_for(_talk(packets, waiting), PATIENCE_S))
    assert written
    return re.sub(rb"[0-9a-f]{32}", b"ID", written)


async def _talk(packets: list[bytes], waiting: bool) -> bytes:
    connection, transport = connected(waiting)
    for packet in packets:
        connection.data_received(packet)
        await asyncio.sleep(0)
    connection.shared.groups.read()
    while connection.tasks:
        await asyncio.wait(set(connection.tasks))
    return bytes(transport.written)


def connected(waiting: bool) -> tuple[wire.Protocol, "Written"]:
    """Return a connection and its transport; `waiting`: as `talk`."""
    config = uvicorn.Config(echo, log_config=None, access_log=False)
    config.load()
    shared = Connections(Settings())
    if waiting:
        shared.groups = Groups(lambda: FEW_JOBS, lambda: 0.0)
        for path in (b"/post", b"/ping", b"/early", b"/", b"http://other:80/a?b=c"):
            shared.groups.refused(path)
    connection = wire.Protocol(config, ServerState(), {}, shared=shared)
    transport = Written()
    connection.connection_made(transport)
    return connection, transport


class Written(asyncio.Transport):
    """Records what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self._closed = bytearray(), False

    def write(self, data: Any) -> None:
        assert not self._closed
        self.written += data

    def write_eof(self) -> None:
        self._closed = True

    close = write_eof

    def is_closing(self) -> bool:
        return self._closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...
