"""What the environment says of proxies and certificates, and URLs: used, or refused by name."""

import asyncio
import socket
from threading import Thread

import pytest

import dreamserve_client as sdk
from dreamserve_client.environment import proxy_of, server_url, tls_of

LOOPBACK = ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://dreams.localhost"]
AWAY = "http://dreams.test"
BAD = {
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "HTTP_PROXY": "ftp://proxy.test",
    "http_proxy": "http://[",
    "all_proxy": "://",
}
TRANSPORTS = ["http", "stream"]


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("url", LOOPBACK)
def test_no_variable_keeps_a_client_from_a_server_on_this_machine(monkeypatch, url, transport):
    for name, value in BAD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "localhost,[::1]")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    assert proxy_of(server_url(url)) is None
    sdk.DreamClient(url, transport=transport).close()
    asyncio.run(sdk.AsyncDreamClient(url, transport=transport).close())


@pytest.mark.parametrize("variable", BAD)
@pytest.mark.parametrize("kind", [sdk.DreamClient, sdk.AsyncDreamClient])
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(monkeypatch, variable, kind):
    monkeypatch.setenv(variable, BAD[variable])
    words = rf"^{variable} names no usable proxy \(.*NO_PROXY"
    with pytest.raises(sdk.ConfigurationError, match=words):
        kind(AWAY)


@pytest.mark.parametrize("variable", BAD)
def test_so_it_is_for_the_stream(monkeypatch, variable):
    def use() -> None:
        with sdk.DreamClient(AWAY, transport="stream") as client:
            client.worlds()  # only here is SOCKS found to need another package

    monkeypatch.setenv(variable, BAD[variable])
    with pytest.raises(sdk.ConfigurationError, match=f"^{variable} names no usable proxy"):
        use()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_proxy_that_does_not_answer_is_named_in_the_error(monkeypatch, transport):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{unused.getsockname()[1]}")
        with (
            sdk.DreamClient(AWAY, transport=transport, max_retries=0) as client,
            pytest.raises(sdk.APIConnectionError, match="HTTP_PROXY"),
        ):
            client.worlds()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_proxy_is_used_for_a_server_elsewhere(monkeypatch, transport):
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def take_one() -> None:
            connection, _ = proxy.accept()
            with connection:
                received.append(connection.recv(1000))

        thread = Thread(target=take_one)
        thread.start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with (
            sdk.DreamClient(AWAY, transport=transport, max_retries=0) as client,
            pytest.raises(sdk.APIConnectionError),
        ):
            client.worlds()
        thread.join(30)
    expected = {"http": b"GET http://dreams.test/worlds ", "stream": b"CONNECT dreams.test:80 "}
    assert received[0].startswith(expected[transport])


@pytest.mark.parametrize(
    ("url", "listed"),
    [
        ("http://dreams.test", "dreams.test"),
        ("http://dreams.test", "other, .test"),
        ("http://dreams.test", "*"),
        ("http://dreams.test:81", "dreams.test:81"),
        ("http://[fd00::1]", "[fd00::1]"),
        ("http://[fd00::1]:81", "fd00::1"),
    ],
)
def test_hosts_in_no_proxy_have_no_proxy(monkeypatch, url, listed):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test")
    assert proxy_of(server_url(url)).url == "http://proxy.test"
    monkeypatch.setenv("NO_PROXY", listed)
    assert proxy_of(server_url(url)) is None


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_certificates_that_are_not_there_are_named_by_their_variable(
    monkeypatch, transport, variable
):
    monkeypatch.setenv(variable, "/nowhere.pem")
    with pytest.raises(sdk.ConfigurationError, match=f"{variable}=/nowhere.pem cannot be loaded"):
        sdk.DreamClient("https://dreams.test", transport=transport)
    assert tls_of(server_url(AWAY)) is None


def test_https_is_verified():
    context = tls_of(server_url("https://dreams.test"))
    assert context is not None
    assert context.check_hostname


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "",
        "ftp://dreams",
        "http://",
        "http://[::1",
        "http://h:99999",
        "http://h:port",
        "http://h/?a=b",
        "http://h/#a",
        "http://a b",
        "http://h\n",
        "ws://dreams",
        None,
        7,
    ],
)
def test_a_base_url_that_is_none_is_refused_at_once(url, transport):
    with pytest.raises(sdk.ConfigurationError, match="base_url"):
        sdk.DreamClient(url, transport=transport)
    with pytest.raises(sdk.ConfigurationError, match="base_url"):
        sdk.AsyncDreamClient(url, transport=transport)


def test_a_url_may_have_a_path_and_ends_without_a_slash(fake):
    assert str(server_url("https://h/dreams/")) == "https://h/dreams"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"transport": "carrier pigeon"}, "transport must be 'http', 'stream' or an object"),
        ({"encoding": "yaml"}, "encoding must be 'msgpack' or 'json'"),
        ({"timeout_s": 0}, "timeout_s must be a positive number"),
        ({"timeout_s": float("nan")}, "timeout_s must be a positive number"),
        ({"timeout_s": "soon"}, "timeout_s must be a positive number"),
        ({"timeout_s": 1e300}, "a positive number of at most 1000000, not 1e"),
        ({"max_retries": -1}, "max_retries must be 0 or more"),
        ({"max_retries": 1.5}, "max_retries must be 0 or more"),
        ({"transport": "stream", "http_client": object()}, "http_client goes with"),
        ({"transport": object()}, "takes none of base_url"),
    ],
)
@pytest.mark.parametrize("kind", [sdk.DreamClient, sdk.AsyncDreamClient])
def test_options_that_make_no_sense_are_refused_at_once(kind, options, words):
    with pytest.raises(sdk.ConfigurationError, match=words):
        kind("http://127.0.0.1:1", **options)


def test_a_client_needs_a_server_or_a_transport():
    with pytest.raises(sdk.ConfigurationError, match="give base_url"):
        sdk.DreamClient()
