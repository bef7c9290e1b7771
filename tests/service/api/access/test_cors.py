"""CORS, and the headers that protect pages."""

import logging
import re

import httpx
import pytest

pytestmark = pytest.mark.anyio
PAGE = "https://page.example"


async def test_a_preflight_allows_the_headers_that_the_server_reads(serving, keys_file) -> None:
    async with serving(allowed_origins=PAGE, api_keys_file=keys_file) as client:
        wanted = (
            "authorization,x-session-id,x-session-route,x-request-id,x-request-timeout,"
            "content-type,traceparent,tracestate"
        )
        headers = {
            "origin": PAGE,
            "access-control-request-method": "PUT",
            "access-control-request-headers": wanted,
        }
        allowed = await client.http.options("/step", headers=headers)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == PAGE
        assert set(wanted.split(",")) <= set(
            allowed.headers["access-control-allow-headers"].lower().split(", ")
        )
        assert allowed.headers["vary"] == "Origin"
        other = {**headers, "origin": "https://other.example"}
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            refused = await http.options("/step", headers=other)
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"origin": "https://other.example"}, "web pages of https://other.example may not use"),
        ({"access-control-request-method": "PATCH"}, "may not send PATCH; they may send GET, HEAD"),
        (
            {"access-control-request-headers": "content-type, X-Own"},
            "may not send x-own; they may send authorization, content-type",
        ),
    ],
)
async def test_a_refused_preflight_says_what_is_wrong_in_its_answer_and_is_logged(
    serving, caplog, changed, detail
) -> None:
    caplog.set_level(logging.INFO, "dreamserve")
    headers = {"origin": PAGE, "access-control-request-method": "PUT", **changed}
    async with serving(allowed_origins=PAGE) as client:
        response = await client.http.options("/step", headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden_origin")
        assert detail in response.json()["detail"]
        (event,) = [record.fields for record in caplog.records if record.message == "problem"]
        assert event["request_id"] == response.json()["request_id"]
        assert client.app.service.problems.counts["other", "forbidden_origin", 403] == 1


async def test_pages_of_allowed_origins_read_errors_and_when_to_retry(serving, keys_file) -> None:
    async with serving(allowed_origins=PAGE, api_keys_file=keys_file) as client:
        client.unforeseen.add("unauthorized")
        response = await client.http.get("/worlds", headers={"origin": PAGE})
        assert response.status_code == 401
        assert response.headers["access-control-allow-origin"] == PAGE
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert {"retry-after", "x-request-id"} <= set(exposed)


async def test_every_response_varies_by_origin_where_origins_are_listed(serving) -> None:
    async with serving(allowed_origins=PAGE) as client:
        for headers in ({}, {"origin": PAGE}, {"origin": "https://other.example"}):
            response = await client.http.get("/play", headers=headers)
            assert response.headers.get_list("vary") == ["Origin"]
    async with serving() as client:
        response = await client.http.get("/worlds", headers={"origin": PAGE})
        assert not {"vary", "access-control-allow-origin"} & set(response.headers)


async def test_every_origin_may_read_where_all_are_allowed(serving) -> None:
    async with serving(allowed_origins="*") as client:
        response = await client.http.get("/worlds", headers={"origin": PAGE})
        assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/docs", "/play"])
async def test_a_page_may_not_be_framed_and_runs_its_own_scripts_only(client, path) -> None:
    page = await client.http.get(path)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r" on\w+=| style=", page.text), "inline code that the policy forbids"


@pytest.mark.parametrize("path", ["/docs", "/play", "/worlds", "/nothing", "/livez"])
async def test_no_response_may_be_taken_for_another_type(client, path) -> None:
    response = await client.http.get(path)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "strict-transport-security" not in response.headers
