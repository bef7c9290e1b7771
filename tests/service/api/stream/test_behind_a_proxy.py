"""Behind a proxy: its path prefix, the client's address; and HTTPS without one."""

import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from dreamserve.api.tls import tls_context
from dreamserve.errors import SettingsError
from dreamserve.settings import Settings

pytestmark = pytest.mark.anyio


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
    ],
)
async def test_a_clients_address_is_believed_of_trusted_proxies_only(
    listening, trusted, forwarded, statuses
) -> None:
    with listening(trusted_proxies=trusted, requests_per_s=0.001, request_burst=1) as served:
        async with httpx.AsyncClient(base_url=served.url) as http:
            headers = [{"x-forwarded-for": address} for address in forwarded]
            assert [(await http.get("/worlds", headers=one)).status_code for one in headers] == (
                statuses
            )
