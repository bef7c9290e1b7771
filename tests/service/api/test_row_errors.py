"""A batch whose rows all fail: its result is large, though it holds no array."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from dreamserve.api import codec
from dreamserve.engine.handlers.rows import ROW_BYTES, ROWS_AT_ONCE, duplicate_errors
from dreamserve.engine.scheduling.jobs import SMALL_BYTES
from dreamserve.engine.sessions import owned
from dreamserve.engine.work import Job

pytestmark = pytest.mark.anyio
PATIENCE_S = 30.0
IDS = [f"unknown-{i}" for i in range(9_000)]
BATCHES = {
    "delete_batch": {"session_ids": IDS},
    "step_batch": {"session_ids": IDS, "actions": [1] * len(IDS)},
}


@pytest.fixture
def held_while_encoding(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function from a service to where goes what it holds while it encodes in pieces."""

    def watch(service: Any) -> list[tuple[int, int]]:
        held: list[tuple[int, int]] = []
        encode, shared = codec.encode_large, service.connections

        def encoded(*options: Any) -> bytes:
            held.append((shared.results.held, shared.responses.held))
            return encode(*options)

        monkeypatch.setattr(codec, "encode_large", encoded)
        return held

    return watch


@pytest.mark.parametrize(("verb", "body"), BATCHES.items())
async def test_the_errors_of_rows_are_counted_and_encoded_in_a_thread(
    client, held_while_encoding, verb, body
) -> None:
    service = client.app.service
    held = held_while_encoding(service)
    path = "/" + "/".join(verb.split("_"))
    response = await client.post(path, body)
    assert [error["row"] for error in response.json()["errors"]] == list(range(len(IDS)))
    ((results, responses),) = held
    text_bytes = sum(len(error["detail"]) for error in response.json()["errors"])
    assert min(results, responses) > text_bytes + 128 * len(IDS)
    assert service.connections.results.held == service.connections.responses.held == 0
    assert service.engine.measures.row_errors[verb, "session_not_found"] == len(IDS)


@pytest.mark.parametrize(("verb", "body"), BATCHES.items())
async def test_so_they_are_on_a_stream(listening, held_while_encoding, verb, body) -> None:
    with listening() as served:
        held = held_while_encoding(served.app.service)
        url = f"ws://127.0.0.1:{served.port}/stream"
        async with connect(url, max_size=None) as socket:
            await socket.send(codec.encode({"id": 1, "verb": verb, "body": body}, False).decode())
            text = await asyncio.wait_for(socket.recv(), PATIENCE_S)
            assert text.count("session_not_found") == len(IDS)
    ((results, responses),) = held
    assert min(results, responses) > 128 * len(IDS)
    assert served.app.service.connections.results.held == 0


async def test_a_large_deletion_waits_until_it_may_take_its_memory(client, monkeypatch) -> None:
    sizes: list[Any] = []
    resume = Job.resume
    monkeypatch.setattr(
        Job, "resume", lambda job, *given: (resume(job, *given), sizes.append(job.size))[0]
    )
    assert (await client.post("/delete/batch", BATCHES["delete_batch"])).status_code == 200
    assert sizes[0].memory_bytes == len(IDS) * ROW_BYTES > SMALL_BYTES


async def test_an_unknown_session_of_a_batch_is_looked_for_once(client, monkeypatch) -> None:
    missing: list[str] = []
    not_here = owned._not_here
    monkeypatch.setattr(owned, "_not_here", lambda *of: (missing.append(of[0]), not_here(*of))[1])
    fields = {"session_ids": IDS[:300], "actions": [1] * 300}
    assert len((await client.post("/step/batch", fields)).json()["errors"]) == 300
    assert missing == IDS[:300]


def test_other_work_has_its_turn_between_the_errors_of_rows_that_are_there_twice() -> None:
    ended: list[Any] = []

    def work() -> Iterator[Any]:
        ended.append((yield from duplicate_errors(["a"] * 1_001)))

    assert list(work()) == [None] * (1_000 // ROWS_AT_ONCE)
    assert list(ended[0]) == list(range(1, 1_001))
