"""Other HTTP clients against the real command: the headers they add by themselves work."""

import http.client
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

PATIENCE_S = 20.0
RESET = b'{"session_id":"%s","seed":7}'
# What Java's HttpClient, and so Spring, sends with the first request of every connection.
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\nUpgrade: h2c\r\n"


@pytest.fixture(scope="module")
def url(serve, exported_bundle) -> Iterator[str]:
    with serve(exported_bundle) as served:
        yield served.url


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), PATIENCE_S)


def head(path: str, length: int, extra: bytes = b"") -> bytes:
    fields = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % length
    return b"POST %s HTTP/1.1\r\n" % path.encode() + fields + extra + b"\r\n"


def read(client: socket.socket) -> tuple[int, dict]:
    """Return the status and content of the next response."""
    response = http.client.HTTPResponse(client, method="POST")
    response.begin()
    return response.status, json.loads(response.read())


def curl(tmp_path: Path, *arguments: str) -> tuple[int, dict]:
    """Return the status and content of curl's last response."""
    options = ["--silent", "--show-error", "--output", str(tmp_path / "out"), "--write-out"]
    done = subprocess.run(
        ["curl", *options, "%{http_code}", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return int(done.stdout), json.loads((tmp_path / "out").read_bytes())


def test_a_java_client_can_start_a_dream(url: str) -> None:
    latents = []
    with connect(url) as client:
        for name, extra in ((b"plain", b""), (b"java", H2C), (b"close", H2C)):
            body = RESET % name
            client.sendall(head("/reset", len(body), extra))
            client.sendall(body)  # a packet of its own, as Java sends it
            status, start = read(client)
            assert (status, start["session_id"]) == (200, name.decode())
            latents.append(start["latent"])
    assert latents[0] == latents[1] == latents[2]


def test_a_client_that_closes_its_writing_half_gets_its_plan(url: str) -> None:
    with connect(url) as client:
        body = RESET % b"s"
        client.sendall(head("/reset", len(body)) + body)
        assert read(client)[0] == 200
        body = b'{"session_id":"s","horizon":10,"candidates":32}'
        client.sendall(head("/plan", len(body)) + body)
        client.shutdown(socket.SHUT_WR)
        status, plan = read(client)
        assert (status, len(plan["actions"])) == (200, 10)
        assert client.recv(1) == b""


def test_a_head_without_end_is_refused_with_a_reason(url: str) -> None:
    with connect(url) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nA: ")
        for _ in range(50):
            client.sendall(b"a" * 1_000_000)
        status, problem = read(client)
        assert (status, problem["status"], problem["code"]) == (431, 431, "headers_too_large")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_succeeds_with_the_headers_it_adds(url: str, tmp_path: Path) -> None:
    as_json = ("--header", "Content-Type: application/json")
    # an upgrade
    reset = ("--http2", *as_json, "--data", (RESET % b"c").decode(), f"{url}/reset")
    status, start = curl(tmp_path, *reset)
    assert (status, start["session_id"]) == (200, "c")
    # Expect: 100-continue, as of 1 MB
    large = tmp_path / "large.json"
    large.write_text(json.dumps({"session_id": "c", "action": 1}) + " " * 2_000_000)
    status, stepped = curl(tmp_path, *as_json, "--data-binary", f"@{large}", f"{url}/step")
    assert (status, stepped["step"]) == (200, 1)
    # a body in chunks, over a connection of HTTP/1.0
    chunked = ("--header", "Transfer-Encoding: chunked", "--data-binary", f"@{large}")
    assert curl(tmp_path, *as_json, *chunked, f"{url}/step")[1]["step"] == 2
    small = ("--http1.0", *as_json, "--data", '{"session_id": "c", "action": 1}')
    assert curl(tmp_path, *small, f"{url}/step")[1]["step"] == 3
    # an absolute target, as for a proxy
    proxied = ("--proxy", url, *as_json, "--data", '{"session_id": "c", "action": 1}')
    assert curl(tmp_path, *proxied, "http://dreams.localhost/step")[1]["step"] == 4
