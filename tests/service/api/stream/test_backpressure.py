"""A peer that does not read, or disconnects, affects only itself."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.scheduling.queued import Future, QueuedRequest
from dreamserve_protocol.sample import SampleRequest

pytestmark = pytest.mark.anyio
PATIENCE_S = 30.0


async def until(http: httpx.AsyncClient, fulfilled: Callable[[], bool]) -> None:
    """Poll the server over HTTP until the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not fulfilled():
            assert (await http.get("/livez")).status_code == 200


async def test_a_peer_that_does_not_read_delays_only_itself(
    listening, monkeypatch, peer_of
) -> None:
    sent, most = 150, 4
    with listening(max_stream_requests=most) as served:
        engine, counted = served.app.service.engine, []
        add = engine.queue.add
        monkeypatch.setattr(engine.queue, "add", lambda *a: (counted.append(a[0]), add(*a)))
        async with (
            httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S) as http,
            peer_of(served, max_queue=1) as peer,
        ):
            # a response is about 450 kB; kernel and client buffer at most 10 MB
            body = {"start": {"bank": 1}, "futures": 200, "horizon": 50, "seed": 1}
            for i in range(sent):
                await peer.send({"id": i, "verb": "sample", "body": body})
            still = await still_count(http, engine, counted)
            assert most <= still < 60
            for seed in range(50):
                reset = await http.post("/reset", json={"session_id": "other", "seed": seed})
                assert reset.status_code == 200
            assert sum(isinstance(request, SampleRequest) for request in counted) == still
            answered = [(await peer.receive())["id"] for _ in range(sent)]
            assert sorted(answered) == list(range(sent))


async def still_count(http: httpx.AsyncClient, engine: Engine, counted: list[Any]) -> int:
    """Return the number of an idle engine's requests, once it has stopped changing."""
    seen, unchanged = 0, 0
    async with asyncio.timeout(2 * PATIENCE_S):
        while not seen or unchanged < 100:
            assert (await http.get("/livez")).status_code == 200
            unchanged = unchanged + 1 if engine.idle and len(counted) == seen else 0
            seen = len(counted)
    return seen


async def test_no_more_are_in_progress_on_a_socket_than_the_bound(
    listening, monkeypatch, peer_of
) -> None:
    waiting: list[QueuedRequest] = []
    with listening(max_stream_requests=3) as served:
        engine = served.app.service.engine
        async with (
            httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S) as http,
            peer_of(served) as peer,
        ):
            monkeypatch.setattr(
                engine.queue,
                "add",
                lambda request, future, owner, timeout_s: waiting.append(
                    QueuedRequest(request, future, None)
                ),
            )
            for i in range(5):
                await peer.send({"id": i, "verb": "worlds"})
            await until(http, lambda: len(waiting) >= 3)
            driver = served.app.service.async_engine
            for _ in range(50):
                assert (await http.get("/livez")).status_code == 200
            assert len(waiting) == 3
            for i in range(5):  # each response makes room for the next request
                await until(http, lambda i=i: len(waiting) == min(i + 3, 5))
                driver.deliver([(waiting[i], None)])
                assert await peer.receive() == {"id": i, "status": 204}


@pytest.mark.parametrize("abruptly", [False, True])
async def test_waiting_requests_of_a_disconnected_peer_are_cancelled(
    listening, monkeypatch, caplog, abruptly, peer_of
) -> None:
    waiting: list[Future] = []
    with listening(max_stream_requests=3) as served:
        engine = served.app.service.engine
        async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S) as http:
            with monkeypatch.context() as patched:
                patched.setattr(engine.queue, "add", lambda _, future, *__: waiting.append(future))
                async with peer_of(served) as peer:
                    for i in range(3):  # as many as there is room for
                        await peer.send({"id": i, "verb": "worlds"})
                    await until(http, lambda: len(waiting) == 3)
                    if abruptly:
                        peer.socket.transport.abort()
                await until(http, lambda: all(future.cancelled() for future in waiting))
            async with peer_of(served) as peer:
                assert (await peer.ask("worlds"))["status"] == 200
    assert not caplog.records


async def test_a_peer_that_disconnects_early_is_not_an_error(listening, caplog, peer_of) -> None:
    with listening(max_stream_requests=4) as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S) as http:
            for _ in range(5):
                async with peer_of(served, max_queue=1) as peer:
                    body = {"start": {"bank": 1}, "futures": 200, "horizon": 50, "seed": 1}
                    for i in range(40):
                        await peer.send({"id": i, "verb": "sample", "body": body})
                    await peer.receive()
                    peer.socket.transport.abort()
            assert (await http.post("/reset", json={})).status_code == 200
    assert not caplog.records
