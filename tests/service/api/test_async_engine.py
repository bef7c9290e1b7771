"""Which thread takes the engine's turns, and that a repeated step is taken once."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dreamserve.api.access.callers import ANYONE
from dreamserve.api.async_engine import AsyncEngine
from dreamserve.engine.durability.gate import Durability
from dreamserve.engine.durability.stalls import Stalls
from dreamserve.engine.engine import Engine
from dreamserve.engine.executor import Executor
from dreamserve.engine.fake import fake_world
from dreamserve.store.base import Retention
from dreamserve.store.memory import MemoryStore
from dreamserve_protocol.errors import OverloadedError
from dreamserve_protocol.worlds import WorldsRequest

pytestmark = pytest.mark.anyio
FORMS = ["json", "msgpack"]


@pytest.fixture
def turns_taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which threads that run a batch or a slice append their names."""
    taken: list[str] = []

    def noted(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            taken.append(threading.current_thread().name)
            return method(*arguments)

        return run

    for name in ("run_batch", "run_slice"):
        monkeypatch.setattr(Executor, name, noted(getattr(Executor, name)))
    return taken


async def test_a_short_turn_is_taken_in_the_event_loop(turns_taken, client) -> None:
    await client.reset(session_id="a")
    for _ in range(5):
        assert (await client.post("/step", {"session_id": "a", "action": 1})).status_code == 200
    assert set(turns_taken) == {threading.main_thread().name}


async def test_long_work_goes_to_the_engines_thread(turns_taken, client) -> None:
    await client.reset(session_id="a")
    turns_taken.clear()
    response = await client.post("/plan", {"session_id": "a", "horizon": 20})
    assert response.status_code == 200
    assert turns_taken[0] == threading.main_thread().name  # validated and started
    assert set(turns_taken[1:]) == {"dreamserve-engine"}


async def test_waiting_requests_become_one_batch(monkeypatch, client) -> None:
    sizes: list[int] = []
    run = Executor.run_batch

    def noted(executor: Executor, requests: list[Any]) -> Any:
        sizes.append(len(requests))
        return run(executor, requests)

    for i in range(12):
        await client.reset(session_id=f"s{i}")
    monkeypatch.setattr(Executor, "run_batch", noted)
    steps = [client.post("/step", {"session_id": f"s{i}", "action": 1}) for i in range(12)]
    assert {response.status_code for response in await asyncio.gather(*steps)} == {200}
    assert sizes == [12]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("include", [[], ["frame", "state", "mixture"]])
async def test_a_repeated_step_gets_the_same_bytes(client, form, include) -> None:
    await client.reset(session_id="a", seed=3)
    for number in (1, 2):
        fields = {"session_id": "a", "action": 2, "step": number, "include": include}
        first = await client.post("/step", fields, form)
        again = await client.post("/step", fields, form)
        assert first.status_code == again.status_code == 200
        assert first.content == again.content
    assert (await client.http.get("/sessions/a")).json()["step"] == 2


@pytest.mark.parametrize("form", FORMS)
async def test_duplicates_in_flight_join_the_first(client, form) -> None:
    await client.reset(session_id="a", seed=3)
    fields = {"session_id": "a", "action": 2, "step": 1}
    same = await asyncio.gather(*[client.post("/step", fields, form) for _ in range(9)])
    assert {response.status_code for response in same} == {200}
    assert len({response.content for response in same}) == 1
    assert (await client.http.get("/sessions/a")).json()["step"] == 1


async def test_two_different_steps_with_one_number_conflict(client) -> None:
    await client.reset(session_id="a", seed=3)
    steps = [client.post("/step", {"session_id": "a", "action": a, "step": 1}) for a in (0, 2)]
    answers = await asyncio.gather(*steps)
    assert sorted(response.status_code for response in answers) == [200, 409]
    assert (await client.http.get("/sessions/a")).json()["step"] == 1


async def test_the_server_stays_alive_while_it_plans(client) -> None:
    await client.reset(session_id="a")
    await client.reset(session_id="b")
    plan = asyncio.create_task(
        client.post("/plan", {"session_id": "a", "horizon": 100, "candidates": 100})
    )
    steps = 0
    async with asyncio.timeout(20):
        while not plan.done():
            step = await client.post(
                "/step", {"session_id": "b", "action": 1, "observation": [0] * 4}
            )
            assert step.status_code == 200
            steps += 1
    assert steps > 10
    assert (await plan).status_code == 200


async def test_ending_a_session_is_tried_again_while_the_queue_is_full(serving) -> None:
    async with serving(fake_world(), max_queue=1) as client:
        await client.reset(session_id="a")
        engine, waiting = client.app.service.async_engine, asyncio.Future[Any]()
        engine.queue(WorldsRequest(), waiting, ANYONE)
        with pytest.raises(OverloadedError):
            engine.queue(WorldsRequest(), asyncio.Future(), ANYONE)
        await engine.end("a", ANYONE)
        assert waiting.done()
        assert (await client.http.get("/sessions/a")).status_code == 404
        await engine.end("a", ANYONE)  # it is gone already


async def test_the_event_loop_tells_a_server_with_a_shared_store_that_it_runs() -> None:
    beats = asyncio.Semaphore(0)

    class Heard(Stalls):
        def beat(self) -> None:
            beats.release()

    durability = Durability(MemoryStore(Retention(1.0, 1.0)), stalls=Heard())
    engine = Engine([fake_world()], durability=durability)
    AsyncEngine(engine)
    for _ in range(3):
        await asyncio.wait_for(beats.acquire(), 20)
    await asyncio.to_thread(engine.stop)
