"""Liveness, readiness and draining."""

import asyncio
import threading

import pytest

from dreamserve.engine.fake import fake_world
from dreamserve_protocol.reset import ResetRequest

pytestmark = pytest.mark.anyio


async def ready(client, wanted: int) -> None:
    """Wait until /readyz answers `wanted`, for at most 5 s."""
    async with asyncio.timeout(5):
        while (await client.http.get("/readyz")).status_code != wanted:
            await asyncio.sleep(0.001)


async def test_alive_but_not_ready_until_warm(serving, monkeypatch) -> None:
    world, warm = fake_world(), threading.Event()
    original = world.backend.decode

    def slow(latent):
        assert warm.wait(timeout=5)
        return original(latent)

    monkeypatch.setattr(world.backend, "decode", slow)
    async with serving(world, wait=False) as client:
        response = await client.http.get("/readyz")
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        assert (await client.http.get("/livez")).json() == {"status": "live"}
        warm.set()
        await ready(client, 200)
        assert (await client.http.get("/readyz")).json() == {"status": "ready"}


async def test_a_draining_server_serves_only_existing_sessions(client) -> None:
    await client.reset(session_id="known")
    await ready(client, 200)
    client.app.service.engine.drain()

    response = await client.http.get("/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "draining")
    assert (await client.http.get("/livez")).status_code == 200
    for fields in ({}, {"session_id": "new"}):
        response = await client.post("/reset", fields)
        assert (response.status_code, response.json()["code"]) == (503, "draining")
        assert response.headers["retry-after"] == "1"

    result = (await client.post("/reset/batch", {"session_ids": ["new", "known"]})).json()
    assert [(e["row"], e["code"], e["status"]) for e in result["errors"]] == [(0, "draining", 503)]
    for fields in ({"count": 1}, {"session_ids": ["new", "newer"]}):
        response = await client.post("/reset/batch", fields)
        assert (response.status_code, response.json()["code"]) == (503, "draining")
        assert response.headers["retry-after"] == "1"

    assert (await client.post("/step", {"session_id": "known", "action": 0})).status_code == 200
    assert (await client.post("/reset", {"session_id": "known"})).json()["step"] == 0
    assert (await client.http.delete("/sessions/known")).status_code == 204
    assert (await client.http.get("/sessions/new")).status_code == 404


async def test_a_disconnect_cancels_the_request(client, monkeypatch) -> None:
    waiting: list[asyncio.Future] = []

    def never_answer(_, answer, owner, timeout_s):
        waiting.append(answer)

    monkeypatch.setattr(client.app.service.engine.queue, "add", never_answer)
    sent, messages = [], [{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/reset",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    async with asyncio.timeout(5):
        await client.app(scope, receive, send)
    assert [answer.cancelled() for answer in waiting] == [True]
    assert not sent


@pytest.mark.parametrize(
    "sent_first", [[], [{"type": "http.request", "body": b"{", "more_body": True}]]
)
async def test_a_disconnect_during_the_body_submits_no_request(client, sent_first) -> None:
    sent, messages = [], [*sent_first, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/reset", "query_string": b"", "headers": []}
    await client.app(scope, receive, send)
    assert not sent  # the client has gone: no response
    assert client.app.service.engine.session_count == 0


async def test_a_server_whose_engine_has_failed_asks_to_be_restarted(serving, monkeypatch) -> None:
    async with serving(fake_world()) as client:
        engine = client.app.service.engine
        monkeypatch.setattr(engine._executor, "arrive", lambda: 1 / 0)
        future = engine.submit(ResetRequest())
        assert await asyncio.to_thread(future.exception, 5) is not None
        await ready(client, 503)
        for path in ("/livez", "/v2/health/live"):
            response = await client.http.get(path)
            assert response.status_code == 503
            assert "must be restarted" in response.text
