"""HTTP: methods, paths, media types, origins."""

from typing import Any

import pytest

from dreamserve.api import http
from dreamserve_protocol.pages import PAGES
from dreamserve_protocol.verbs import VERBS

pytestmark = pytest.mark.anyio

JSON, MSGPACK = "application/json", "application/msgpack"
PATHS = sorted({verb.path for verb in VERBS}) + [page.path for page in PAGES]
EVIL = "http://evil.example"


def methods_of(path: str) -> set[str]:
    methods = {verb.method for verb in VERBS if verb.path == path} or {"GET"}
    return {*methods, "OPTIONS", *({"HEAD"} if "GET" in methods else ())}


def allowed(response: Any) -> set[str]:
    return set(response.headers["allow"].split(", "))


@pytest.mark.parametrize("path", ["/reset/", "/step/", "/sessions/s/", "/worlds/", "//reset"])
async def test_a_path_is_exact_and_nothing_is_redirected(client, path) -> None:
    for method in ("GET", "POST"):
        response = await client.http.request(method, f"http://test{path}", json={})
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
        assert "location" not in response.headers
        assert path in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sessions/tour%2Fsnapshot"),
        ("POST", "/sessions/tour%2ffork"),
        ("POST", "/reset%2Fbatch"),
        ("GET", "/v2/models/fake%2Fready"),
        ("GET", "/v2/models/fake%2Fversions%2F1"),
        ("DELETE", "/sessions/tour%2F"),
    ],
)
async def test_an_encoded_slash_leads_to_no_other_verb(client, method, path) -> None:
    await client.reset(session_id="tour")
    body = {"json": {}} if method == "POST" else {}
    response = await client.http.request(method, path, **body)
    assert response.status_code == 404
    assert f"no such path: {path}; no id" in response.text
    assert client.app.service.engine.session_count == 1


@pytest.mark.parametrize("path", [*PATHS, "/docs", "/openapi.json"])
async def test_an_unsupported_method_gets_the_allowed_ones(client, path) -> None:
    for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "BREW"} - methods_of(path):
        response = await client.http.request(method, path, json={})
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        assert allowed(response) == methods_of(path)
    response = await client.http.options(path)
    assert (response.status_code, response.content) == (204, b"")
    assert "content-length" not in response.headers
    assert allowed(response) == methods_of(path)


async def test_a_path_of_two_verbs_allows_both(client) -> None:
    response = await client.http.options("/sessions/s/snapshot")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, PUT"


async def test_head_returns_the_headers_of_get(client) -> None:
    await client.reset(session_id="s", seed=1)
    for path in ("/", "/livez", "/docs", "/openapi.json", "/worlds", "/worlds/fake", "/sessions/s"):
        got, head = await client.http.get(path), await client.http.head(path)
        assert (got.status_code, head.status_code) == (200, 200), path
        assert head.headers["content-type"] == got.headers["content-type"]
    assert (await client.http.head("/sessions/s/snapshot")).status_code == 200
    assert (await client.http.head("/sessions/none")).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": JSON, "content-encoding": "gzip"},
        {"content-type": MSGPACK, "content-encoding": "br"},
    ],
)
async def test_a_body_needs_a_media_type_and_no_encoding(client, headers) -> None:
    for path in ("/reset", "/step", "/sessions/s/fork"):
        response = await client.http.post(path, content=b'{"seed": 1}', headers=headers)
        assert response.status_code == 415, response.text
        assert response.json()["code"] == "unsupported_media_type"
        assert "application/json" in response.json()["detail"] or "compressed" in response.text
    assert client.app.service.engine.session_count == 0


async def test_no_body_needs_no_media_type(client) -> None:
    response = await client.http.post("/reset")
    assert response.status_code == 200
    assert (await client.http.post("/reset", headers={"content-type": "text/plain"})).is_success
    session_id = response.json()["session_id"]
    assert (await client.http.post(f"/sessions/{session_id}/fork")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/worlds"),
        ("HEAD", "/worlds"),
        ("GET", "/worlds/fake"),
        ("GET", "/sessions/s"),
        ("GET", "/sessions/s/snapshot"),
        ("GET", "/sessions"),
        ("POST", "/step"),
        ("DELETE", "/sessions/s"),
    ],
)
@pytest.mark.parametrize("query", ["idle=4", "idle", "idle=4&idle=5"])
async def test_a_field_in_the_query_that_a_verb_does_not_know_is_refused(
    client, method, path, query
) -> None:
    await client.reset(session_id="s")
    body = {"json": {"session_id": "s", "action": 1}} if method == "POST" else {}
    response = await client.http.request(method, f"{path}?{query}", **body)
    assert response.status_code == 422
    if method != "HEAD":
        assert response.json()["code"] == "invalid_request"
        twice = query.count("&") and path == "/sessions"
        words = "has a field twice" if twice else "idle: is not a known field"
        assert words in response.json()["detail"]
    assert (await client.http.get("/sessions/s")).json()["step"] == 0


@pytest.mark.parametrize("path", ["/sessions", "/worlds", "/sessions/s"])
async def test_a_query_of_very_many_fields_is_refused_before_it_is_read(
    client, path, monkeypatch
) -> None:
    monkeypatch.setattr(http, "parse_qsl", lambda *_, **__: pytest.fail("read"))
    response = await client.http.get(f"{path}?{'a&' * 128}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "more than 128 fields" in response.json()["detail"]


@pytest.mark.parametrize("query", ["", "&", "&&"])
async def test_an_empty_query_is_none(client, query) -> None:
    assert (await client.http.get(f"/worlds?{query}")).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/play", "/v2", "/openapi.json"])
async def test_pages_ignore_the_query_that_a_proxy_may_add(client, path) -> None:
    assert (await client.http.get(f"{path}?probe=1")).status_code == 200


async def test_a_body_that_says_identity_is_not_compressed(client) -> None:
    headers = {"content-type": JSON, "content-encoding": "Identity"}
    assert (await client.http.post("/reset", content=b"{}", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        EVIL,
        "null",
        "http://test.evil.example",
        "https://evil.example:80",
        "http://",
        "x",
        "http://[",
    ],
)
async def test_a_page_of_another_origin_changes_nothing(client, origin) -> None:
    await client.reset(session_id="s")
    for method, path in [
        ("POST", "/reset"),
        ("POST", "/step"),
        ("PUT", "/sessions/s/snapshot"),
        ("DELETE", "/sessions/s"),
        ("POST", "/nowhere"),
    ]:
        response = await client.http.request(method, path, json={}, headers={"origin": origin})
        assert (response.status_code, response.json()["code"]) == (403, "forbidden_origin")
    assert client.app.service.engine.session_count == 1


async def test_a_page_of_another_origin_may_read(client) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        response = await client.http.request(method, "/worlds", headers={"origin": EVIL})
        assert response.is_success
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://test"},
        {"origin": "https://test"},  # behind a proxy that ends TLS
        {"origin": "https://dreams.example", "x-forwarded-host": "dreams.example"},
        {"origin": "http://localhost:3000", "host": "localhost:3000"},
    ],
)
async def test_the_servers_own_pages_and_other_clients_are_served(serving, headers) -> None:
    async with serving(host="0.0.0.0") as client:
        assert (await client.http.post("/reset", json={}, headers=headers)).status_code == 200


REBOUND = "a.page.example"


@pytest.mark.parametrize(
    ("host", "changed", "status"),
    [
        ("localhost:8000", {}, 200),
        ("LOCALHOST", {}, 200),
        ("127.0.0.1:8000", {}, 200),
        ("[::1]:8000", {}, 200),
        (REBOUND, {}, 403),
        (f"{REBOUND}:8000", {}, 403),
        ("localhost.page.example", {}, 403),
        (f"{REBOUND}:8000", {"allowed_hosts": f"other, {REBOUND}"}, 200),
        (f"{REBOUND}:8000", {"allowed_hosts": "*"}, 200),
        (REBOUND, {"allowed_origins": f"https://{REBOUND}"}, 200),
        (REBOUND, {"host": "0.0.0.0"}, 200),
    ],
)
async def test_a_page_whose_name_was_rebound_to_loopback_reads_nothing(
    serving, host, changed, status
) -> None:
    async with serving(**{"allowed_hosts": "", **changed}) as client:
        for path in ("/worlds", "/", "/v2", "/play"):
            response = await client.http.get(path, headers={"host": host})
            assert response.status_code == status, response.text
            if status == 403:
                assert response.json()["code"] == "forbidden_origin"
                assert "DREAMSERVE_ALLOWED_HOSTS" in response.json()["detail"]


async def test_the_preflight_of_another_page_is_refused_with_a_problem(serving) -> None:
    async with serving(allowed_origins="https://app.example") as client:
        headers = {"origin": EVIL, "access-control-request-method": "POST"}
        response = await client.http.options("/step", headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden_origin")
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["x-request-id"] == response.json()["request_id"]
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("dreams.localhost", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8000", 403),
    ],
)
async def test_a_server_on_loopback_accepts_only_local_host_names(client, host, status) -> None:
    headers = {"origin": f"http://{host}", "host": host}
    response = await client.http.post("/reset", json={}, headers=headers)
    assert response.status_code == status


async def test_a_browser_lets_an_allowed_page_send_json_and_read_the_answer(serving) -> None:
    page = {"origin": "https://app.example"}
    asking = {"access-control-request-method": "POST"}
    asking |= {"access-control-request-headers": "content-type,x-session-id"}
    async with serving(allowed_origins="https://app.example") as client:
        leave = await client.http.options("/step", headers=page | asking)
        assert leave.status_code == 200
        assert leave.headers["access-control-allow-origin"] == "https://app.example"
        assert "POST" in leave.headers["access-control-allow-methods"]
        assert "content-type" in leave.headers["access-control-allow-headers"]
        for body in ({}, {"temperature": -1}):  # a problem can be read, too
            answer = await client.http.post("/reset", json=body, headers=page)
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            assert "x-request-id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("setting", "origin", "status"),
    [
        ("https://app.example", "https://app.example", 200),
        ("https://app.example, http://localhost:5173", "http://localhost:5173", 200),
        ("https://app.example", "http://app.example", 403),
        ("https://app.example", "https://app.example:8443", 403),
        ("*", EVIL, 200),
    ],
)
async def test_a_setting_lists_the_origins_that_are_allowed(
    serving, setting, origin, status
) -> None:
    async with serving(allowed_origins=setting) as client:
        response = await client.http.post("/reset", json={}, headers={"origin": origin})
        assert response.status_code == status


@pytest.mark.parametrize(
    ("origin", "taken"), [(EVIL, False), ("http://localhost", True), (None, True)]
)
async def test_a_websocket_of_another_origin_is_refused_before_it_is_accepted(
    client, origin, taken
) -> None:
    headers = [(b"host", b"localhost"), *([(b"origin", origin.encode())] if origin else [])]
    sent, messages = [], ["websocket.connect", "websocket.disconnect"]

    async def receive() -> dict[str, Any]:
        return {"type": messages.pop(0)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/stream", "query_string": b"", "headers": headers}
    await client.app(scope, receive, send)
    if taken:
        assert [message["type"] for message in sent] == ["websocket.accept"]
        return
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 403
    assert b'"forbidden_origin"' in sent[1]["body"]
    assert messages == ["websocket.connect", "websocket.disconnect"]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/nowhere", "no such path: /nowhere; GET /docs lists all paths"),
        ("/nowhere/", "GET /docs lists all paths"),
        ("/step/", "try it without the trailing slash"),
        ("/sessions/a/", "try it without the trailing slash"),
        ("/stream", "it is only available as a WebSocket"),
    ],
)
async def test_an_unknown_path_gets_a_correct_hint(client, path, hint) -> None:
    response = await client.http.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert hint in response.json()["detail"]


@pytest.mark.parametrize("in_body", [{}, {"session_id": None}, {"session_id": "fleet"}])
@pytest.mark.parametrize("lines", [1, 2])
async def test_the_header_names_the_session_that_a_body_does_not(client, in_body, lines) -> None:
    headers = [("x-session-id", "fleet")] * lines
    response = await client.http.post("/reset", json=in_body, headers=headers)
    assert (response.status_code, response.json().get("session_id")) == (200, "fleet")


@pytest.mark.parametrize("values", [("a", "b"), ("a, b",), ("a", "a", "b")])
async def test_a_header_that_names_two_sessions_is_refused(client, values) -> None:
    headers = [("x-session-id", value) for value in values]
    response = await client.http.post("/reset", json={}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert response.json()["detail"] == "the header x-session-id names one session, not a, b"
    assert client.app.service.engine.session_count == 0


@pytest.mark.parametrize(
    ("name", "values", "status"),
    [
        ("content-type", [JSON, JSON], 200),
        ("content-type", [MSGPACK, JSON], 415),
        ("content-encoding", ["gzip", "identity"], 415),
        ("x-request-timeout", ["5", "5"], 200),
        ("x-request-timeout", ["5", "6"], 422),
    ],
)
async def test_no_line_of_a_repeated_header_is_dropped(client, name, values, status) -> None:
    kind = [] if name == "content-type" else [("content-type", JSON)]
    headers = [*kind, *((name, value) for value in values)]
    assert (await client.http.post("/reset", content=b"{}", headers=headers)).status_code == status


async def test_accept_may_have_several_lines(client) -> None:
    for second in ("text/html", "application/json;q=0.5"):
        headers = [("accept", MSGPACK), ("accept", second)]
        response = await client.http.get("/worlds", headers=headers)
        assert response.headers["content-type"] == MSGPACK
