"""Behind a proxy: its path prefix, the client's address; and HTTPS without one."""

import shutil
import socket
import ssl
import subprocess
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from dreamserve.api.tls import tls_context
from dreamserve.errors import SettingsError
from dreamserve.settings import Settings

pytestmark = pytest.mark.anyio
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return the files of a self-signed certificate for 127.0.0.1, and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder: Path = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*command.split(), "-out", cert, "-keyout", key], check=True, capture_output=True
    )
    return cert, key


async def test_https_and_wss_are_served_with_a_certificate(listening, certificate) -> None:
    cert, key = certificate
    trust = ssl.create_default_context(cafile=cert)
    with listening(tls_cert=cert, tls_key=key, tls_trust=trust) as served:
        async with httpx.AsyncClient(base_url=served.url, verify=trust) as http:
            begun = await http.post("/reset", json={"session_id": "s"})
            assert begun.status_code == 200
            assert begun.headers["strict-transport-security"] == "max-age=31536000"
            too_large = await http.post("/step", content=b"x" * 10, headers={"x": "y" * 70_000})
            assert too_large.status_code == 431
        async with connect(f"wss://127.0.0.1:{served.port}/stream", ssl=trust) as socket:
            await socket.send('{"id": 1, "verb": "session", "body": {"session_id": "s"}}')
            assert '"status":200' in str(await socket.recv())


def test_handshakes_that_never_begin_make_room_for_others(listening, certificate) -> None:
    """Of 8 connections and a reserve of 32, no more can be in a handshake; the oldest end."""
    cert, key = certificate
    trust = ssl.create_default_context(cafile=cert)
    options = {"tls_cert": cert, "tls_key": key, "tls_trust": trust, "max_connections": 8}
    with listening(**options) as served, ExitStack() as at_end:
        address = ("127.0.0.1", served.port)
        silent = [
            at_end.enter_context(socket.create_connection(address, PATIENCE_S)) for _ in range(60)
        ]
        for client in silent[:20]:
            assert is_closed(client)
        assert httpx.get(f"{served.url}/livez", verify=trust, timeout=PATIENCE_S).is_success


def test_a_handshake_takes_no_longer_than_a_head(listening, certificate) -> None:
    cert, key = certificate
    trust = ssl.create_default_context(cafile=cert)
    options = {"tls_cert": cert, "tls_key": key, "tls_trust": trust, "head_timeout_s": 0.5}
    with listening(**options) as served:
        with socket.create_connection(("127.0.0.1", served.port), PATIENCE_S) as client:
            assert is_closed(client)
        with socket.create_connection(("127.0.0.1", served.port), PATIENCE_S) as client:
            client.sendall(b"GET /livez HTTP/1.1\r\n\r\n")  # no TLS
            while not is_closed(client):
                pass
        assert httpx.get(f"{served.url}/livez", verify=trust, timeout=PATIENCE_S).is_success


def is_closed(client: socket.socket) -> bool:
    """Wait for data, and return whether there is none because the server has closed."""
    try:
        return not client.recv(1024)
    except ConnectionError:
        return True


def test_a_certificate_that_cannot_be_used_is_told_in_one_line(certificate, tmp_path) -> None:
    cert, key = certificate
    for fields in ({"tls_cert": cert}, {"tls_key": key}):
        with pytest.raises(SettingsError, match="both --tls-cert and --tls-key"):
            tls_context(Settings(**fields))
    for fields in ({"tls_cert": key, "tls_key": cert}, {"tls_cert": "no", "tls_key": "no"}):
        with pytest.raises(SettingsError, match="cannot be used"):
            tls_context(Settings(**fields))
    locked = str(tmp_path / "locked.pem")
    command = ["openssl", "ec", "-in", key, "-out", locked, "-aes128", "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(SettingsError, match="cannot be used"):  # and no question on the terminal
        tls_context(Settings(tls_cert=cert, tls_key=locked))


@pytest.mark.parametrize("removed", [True, False], ids=["removed by the proxy", "kept"])
async def test_all_paths_work_under_a_prefix(listening, removed) -> None:
    with listening(root_path="/dreams") as served:
        start = "" if removed else "/dreams"
        async with httpx.AsyncClient(base_url=served.url + start) as http:
            assert (await http.get("/openapi.json")).json()["servers"] == [{"url": "/dreams"}]
            assert (await http.get("/")).json()["docs"] == "/dreams/docs"
            page = (await http.get("/docs")).text
            assert 'href="openapi.json"' in page
            assert 'fetch("."+path' in page
            assert (await http.get("/play/main.js")).status_code == 200
            assert (await http.post("/reset", json={"session_id": "s"})).status_code == 200
            assert (await http.get("/sessions/s")).status_code == 200
            assert (await http.get("/v2/health/live")).status_code == 200
            assert (await http.get("/dreamsnot")).status_code == 404
        async with connect(f"ws://127.0.0.1:{served.port}{start}/stream") as socket:
            await socket.send('{"id": 1, "verb": "worlds"}')
            assert '"status":200' in str(await socket.recv())


@pytest.mark.parametrize("prefix", ["dreams", "/dreams/", "/a b", "//a", "/a?b"])
def test_a_prefix_that_is_none_is_refused(prefix) -> None:
    with pytest.raises(SettingsError, match=r"root-path is"):
        Settings.load(root_path=prefix)


@pytest.mark.parametrize(
    ("trusted", "forwarded", "statuses"),
    [
        ("", ["1.1.1.1", "2.2.2.2"], [200, 429]),  # one address, whatever it says
        ("127.0.0.1", ["1.1.1.1", "2.2.2.2"], [200, 200]),
        ("127.0.0.0/8", ["1.1.1.1", "1.1.1.1"], [200, 429]),
        ("10.0.0.1", ["1.1.1.1", "2.2.2.2"], [200, 429]),
        ("127.0.0.1", ["3.3.3.3, 1.1.1.1", "4.4.4.4, 1.1.1.1"], [200, 429]),  # the last is true
        ("::ffff:127.0.0.1", ["1.1.1.1", "2.2.2.2"], [200, 200]),
        ("127.0.0.1, 10.0.0.0/8", ["1.1.1.1, ::ffff:10.1.1.1", "1.1.1.1, 10.1.1.1"], [200, 429]),
        ("*", ["1.1.1.1", "2.2.2.2"], [200, 200]),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::"])  # which sees ::ffff:127.0.0.1
async def test_a_clients_address_is_believed_of_trusted_proxies_only(
    listening, host, trusted, forwarded, statuses
) -> None:
    options = {"trusted_proxies": trusted, "requests_per_s": 0.001, "request_burst": 1}
    with listening(host=host, **options) as served:
        async with httpx.AsyncClient(base_url=served.url) as http:
            headers = [{"x-forwarded-for": address} for address in forwarded]
            assert [(await http.get("/worlds", headers=one)).status_code for one in headers] == (
                statuses
            )
