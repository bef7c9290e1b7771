"""The SDK with a server that wants API keys."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from dreamserve.api.access.keys import entry_for
from dreamserve.engine.fake import fake_world
from dreamserve_client import (
    AsyncDreamClient,
    ConfigurationError,
    DreamClient,
    ForbiddenError,
    InProcess,
    RateLimitedError,
    SessionNotFoundError,
    UnauthorizedError,
)
from dreamserve_client.envs import DreamEnv

ANN, BEN, ROOT = "ann-key", "ben-key", "root-key"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, listening: Any) -> Iterator[str]:
    """Return the address of a server with the keys of ann, ben, an administrator and a slow one."""
    path: Path = tmp_path_factory.mktemp("keys") / "keys.toml"
    entries = [entry_for("ann", ANN), entry_for("ben", BEN), entry_for("root", ROOT, admin=True)]
    slow = entry_for("slow", "slow-key") + "requests_per_s = 2.0\nburst = 1\n"
    path.write_text("".join([*entries, slow]))
    with listening(fake_world(), api_keys_file=str(path)) as served:
        yield served.url


@pytest.mark.parametrize("transport", ["http", "stream"])
def test_a_client_sends_its_key_and_meets_no_other_keys_sessions(url: str, transport: Any) -> None:
    with (
        DreamClient(url, api_key=ANN, transport=transport) as ann,
        DreamClient(url, api_key=BEN, transport=transport) as ben,
        DreamClient(url, api_key=ROOT, transport=transport) as root,
    ):
        ann.reset(session_id="s", seed=1)
        ben.reset(session_id="s", seed=2)
        assert [client.session("s").seed for client in (ann, ben)] == [1, 2]
        with pytest.raises(SessionNotFoundError):
            root.session("s")
        with pytest.raises(ForbiddenError):
            ann.admin_sessions()
        assert [one.owner for one in root.admin_sessions(owner="ben").sessions] == ["ben"]
        assert root.admin_sessions(limit=1).next is not None
        assert ann.sessions(limit=1, idle_s=0.0).total == 1
        assert ann.delete_idle(0).deleted == 1
        assert root.admin_delete(owner="ben").deleted == 1


@pytest.mark.parametrize("transport", ["http", "stream"])
def test_an_asynchronous_client_does_the_same(url: str, transport: Any) -> None:
    async def both() -> None:
        async with AsyncDreamClient(url, api_key=ANN, transport=transport) as ann:
            await ann.reset(session_id="t", seed=3)
            assert (await ann.sessions()).sessions[0].session_id == "t"
            await ann.delete("t")
        async with AsyncDreamClient(url, api_key="no", transport=transport) as nobody:
            with pytest.raises(UnauthorizedError, match="the API key is not valid"):
                await nobody.worlds()

    asyncio.run(both())


@pytest.mark.parametrize("transport", ["http", "stream"])
def test_the_key_may_come_from_the_environment_for_clients_and_dreams(
    url: str, transport: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DreamClient(url, transport=transport) as nobody, pytest.raises(UnauthorizedError):
        nobody.worlds()
    monkeypatch.setenv("DREAMSERVE_API_KEY", ANN)
    with DreamClient(url, transport=transport) as client:
        assert client.worlds()
    with (
        DreamClient(url, api_key="", transport=transport) as nobody,
        pytest.raises(UnauthorizedError),
    ):
        nobody.worlds()
    DreamEnv(url, transport=transport).close()
    monkeypatch.delenv("DREAMSERVE_API_KEY")
    DreamEnv(url, transport=transport, api_key=ANN).close()


@pytest.mark.parametrize("transport", ["http", "stream"])
def test_a_client_waits_as_long_as_a_rate_limit_says(url: str, transport: Any) -> None:
    with DreamClient(url, api_key="slow-key", transport=transport, max_retries=0) as impatient:
        with suppress(RateLimitedError):
            impatient.worlds()  # takes the only token, if the handshake has not
        with pytest.raises(RateLimitedError) as refused:
            impatient.worlds()
        assert refused.value.retry_after_s is not None
        assert 0 < refused.value.retry_after_s <= 1.0
    with DreamClient(url, api_key="slow-key", transport=transport, max_retries=5) as patient:
        assert patient.worlds()


def test_a_header_of_ones_own_client_goes_before_the_environments_key(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMSERVE_API_KEY", "no")
    with httpx.Client(headers={"authorization": f"Bearer {ANN}"}) as http:
        assert DreamClient(url, http_client=http).worlds()


def test_a_redirect_to_another_host_does_not_get_the_key() -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers.get("authorization")))
        if request.url.host == "one":
            return httpx.Response(307, headers={"location": "http://other/worlds"})
        return httpx.Response(200, json={"worlds": []})

    transport = httpx.MockTransport(answer)
    with httpx.Client(transport=transport, follow_redirects=True) as http:
        DreamClient("http://one", api_key=ANN, http_client=http).worlds()
    assert seen == [("one", f"Bearer {ANN}"), ("other", None)]


@pytest.mark.parametrize("key", ["a b", "ä", "a\r\nx: y"])
def test_text_that_is_no_key_is_refused_without_repeating_it(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="api_key must be printable ASCII") as refused:
        DreamClient("http://127.0.0.1:1", api_key=key)
    assert key not in str(refused.value)
    monkeypatch.setenv("DREAMSERVE_API_KEY", key)
    with pytest.raises(ConfigurationError, match="DREAMSERVE_API_KEY must be"):
        AsyncDreamClient("http://127.0.0.1:1")


def test_a_transport_of_ones_own_takes_no_key() -> None:

    with pytest.raises(ConfigurationError, match="takes none of"):
        DreamClient(transport=InProcess(fake_world()), api_key=ANN)
