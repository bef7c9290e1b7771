"""Every door needs a key where there are keys, and shows a key's own sessions only."""

import base64
import logging
from typing import Any

import httpx
import pytest

from dreamserve.api.app import OPEN_PATHS
from dreamserve.api.examples import examples
from dreamserve_protocol.verbs import VERBS, Verb

pytestmark = pytest.mark.anyio
INFER = "/v2/models/fake/infer"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def path_of(verb: Verb) -> str:
    return verb.path.format(session_id="a", name="fake")


async def send(client: Any, key: str, method: str, path: str, **options: Any) -> httpx.Response:
    client.unforeseen |= {"unauthorized", "forbidden", "rate_limited"}
    return await client.http.request(method, path, headers=bearer(key) if key else {}, **options)


async def ask(client: Any, key: str, verb: Verb, body: Any) -> httpx.Response:
    options = {"json": body} if verb.has_body else {}
    return await send(client, key, verb.method, path_of(verb), **options)


def without_request_id(response: httpx.Response) -> tuple[int, Any, set[str]]:
    body = response.json() if response.content else {}
    return response.status_code, {**body, "request_id": ""}, set(response.headers)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
async def test_no_verb_is_answered_without_a_valid_key(serving, keys_file, verb) -> None:
    async with serving(api_keys_file=keys_file) as client:
        for key, header in [("", ""), ("no", ', error="invalid_token"')]:
            response = await ask(client, key, verb, examples()[verb.name].body)
            assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
            assert response.headers["www-authenticate"] == f'Bearer realm="dreamserve"{header}'
        assert client.app.service.engine.session_count == 0


async def test_only_pages_without_a_worlds_data_are_open(serving, keys_file) -> None:
    async with serving(api_keys_file=keys_file) as client:
        for path in OPEN_PATHS:
            assert (await client.http.get(path)).status_code == 200, path
        for path in ("/v2", "/v2/models/fake", "/worlds", "/nothing", "/play/nothing", "/stream"):
            assert (await send(client, "", "GET", path)).status_code == 401, path
        assert (await send(client, "", "POST", INFER, json={})).json()["error"]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
async def test_another_keys_session_is_answered_like_one_that_does_not_exist(
    serving, keys_file, verb
) -> None:
    if verb.is_admin:
        return
    async with serving(api_keys_file=keys_file) as client:
        for id in ("a", "b", "c", "x"):
            await send(client, "kb", "POST", "/reset", json={"session_id": id, "seed": 1})
        # Verbs that do not create sessions are answered as on a server without ben's.
        body = examples()[verb.name].body
        response = await ask(client, "ka", verb, body)
    async with serving(api_keys_file=keys_file) as client:
        expected = await ask(client, "ka", verb, body)
    if verb.name in ("sample", "rollout", "reset", "reset_batch", "restore", "worlds", "world"):
        assert response.status_code == expected.status_code
    else:
        assert without_request_id(response) == without_request_id(expected)


async def test_two_keys_of_one_name_share_sessions_and_other_names_do_not(
    serving, keys_file
) -> None:
    async with serving(api_keys_file=keys_file) as client:
        for key, seed in [("ka", 1), ("kb", 2)]:
            await send(client, key, "POST", "/reset", json={"session_id": "s", "seed": seed})
        seeds = [
            (await send(client, key, "GET", "/sessions/s")).json().get("seed")
            for key in ("ka", "ka2", "kb", "kr")
        ]
        assert seeds == [1, 1, 2, None]


@pytest.mark.parametrize(
    "header",
    [
        "Bearer ka",
        "bearer  ka ",
        "Basic " + base64.b64encode(b":ka").decode(),
        "Basic " + base64.b64encode(b"anybody:ka").decode(),
    ],
)
async def test_a_key_may_come_as_a_bearer_token_or_as_a_password(
    serving, keys_file, header
) -> None:
    async with serving(api_keys_file=keys_file) as client:
        response = await client.http.get("/worlds", headers={"authorization": header})
        assert response.status_code == 200


@pytest.mark.parametrize(
    "header", ["ka", "Bearer", "Bearer k a", "Basic !!", "Basic ka", "Digest ka", "Bearer \xe9"]
)
async def test_another_header_is_no_key(serving, keys_file, header) -> None:
    async with serving(api_keys_file=keys_file) as client:
        client.unforeseen.add("unauthorized")
        headers = [(b"authorization", header.encode("latin-1"))]
        assert (await client.http.get("/worlds", headers=headers)).status_code == 401


async def test_only_an_administrators_key_lists_and_ends_everybodys_sessions(
    serving, keys_file
) -> None:
    async with serving(api_keys_file=keys_file) as client:
        for key in ("ka", "kb"):
            await send(client, key, "POST", "/reset", json={"session_id": "s"})
        refused = await send(client, "ka", "GET", "/admin/sessions")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        listed = (await send(client, "kr", "GET", "/admin/sessions?limit=1&idle_s=0")).json()
        assert (listed["total"], listed["sessions"][0]["owner"]) == (2, "ann")
        page = f"/admin/sessions?after={listed['next']}"
        assert (await send(client, "kr", "GET", page)).json()["sessions"][0]["owner"] == "ben"
        ended = await send(client, "kr", "POST", "/admin/delete", json={"owner": "ann"})
        assert ended.json() == {"deleted": 1}
        assert (await send(client, "ka", "GET", "/sessions/s")).status_code == 404
        assert (await send(client, "kb", "GET", "/sessions/s")).status_code == 200


async def test_without_keys_everybody_lists_all_sessions_and_nobody_is_an_administrator(
    client,
) -> None:
    await client.reset(session_id="s")
    listed = (await client.http.get("/sessions")).json()
    assert [one["session_id"] for one in listed["sessions"]] == ["s"]
    assert (await client.http.get("/admin/sessions")).status_code == 403
    assert (await client.post("/delete/idle", {"idle_s": 0})).json() == {"deleted": 1}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "limit: Input should be greater than or equal to 1"),
        ("limit=1001", "limit: Input should be less than or equal to 1000"),
        ("limit=a", "limit: Input should be a valid integer"),
        ("idle_s=nan", "idle_s: Input should be a finite number"),
        ("after=-1", "after"),
        ("limit=1&limit=2", "the query has a field twice"),
        ("sort=step", "sort: is not a known field"),
    ],
)
async def test_a_query_is_validated_like_a_body(client, query, words) -> None:
    response = await client.http.get(f"/sessions?{query}")
    assert response.status_code == 422
    assert words in response.json()["detail"]


async def test_sequences_of_two_keys_may_have_the_same_id(serving, keys_file) -> None:
    async with serving(api_keys_file=keys_file) as client:
        start = {"parameters": {"sequence_id": 7, "sequence_start": True, "seed": 3}}
        for key in ("ka", "kb"):
            begun = await send(client, key, "POST", INFER, json=start)
            assert begun.status_code == 200, begun.text
        end = {"parameters": {"sequence_id": 7, "sequence_end": True}}
        assert (await send(client, "ka", "POST", INFER, json=end)).status_code == 200
        assert (await send(client, "ka", "GET", "/sessions/7")).status_code == 404
        assert (await send(client, "kb", "GET", "/sessions/7")).status_code == 200


async def test_a_key_has_its_rate_and_its_quota_of_sessions(serving, write_keys) -> None:
    limits = {"key": "ka", "sessions": 1, "requests_per_s": 0.001, "burst": 3}
    async with serving(api_keys_file=str(write_keys(ann=limits, ben="kb"))) as client:
        first = await send(client, "ka", "POST", "/reset", json={"session_id": "s"})
        full = await send(client, "ka", "POST", "/reset", json={"session_id": "t"})
        assert (first.status_code, full.status_code) == (200, 429)
        assert "1 of the 1 sessions of your quota" in full.json()["detail"]
        await send(client, "ka", "GET", "/worlds")
        refused = await send(client, "ka", "GET", "/worlds")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 900 < int(refused.headers["retry-after"]) <= 1000
        assert (await send(client, "kb", "GET", "/worlds")).status_code == 200


async def test_without_keys_each_address_has_the_rate_of_the_settings(serving) -> None:
    async with serving(requests_per_s=0.001, request_burst=2) as client:
        client.unforeseen.add("rate_limited")
        statuses = []
        for address in ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"):
            transport = httpx.ASGITransport(client.app, client=(address, 5))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                statuses.append((await http.get("/worlds")).status_code)
                assert (await http.get("/livez")).status_code == 200  # probes are not counted
        assert statuses == [200, 200, 429, 200]


async def test_no_key_is_ever_logged(serving, keys_file, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(api_keys_file=keys_file) as client:
        for key in ("dsk_secret", "ka2"):
            await send(client, key, "POST", "/reset", json={"session_id": key[0] * 5})
    assert "dsk_secret" not in caplog.text
    assert "Bearer ka2" not in caplog.text
