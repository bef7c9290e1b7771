"""Requests that come too late or too often: what they get, and at which pace."""

import asyncio

import pytest

from dreamserve.api.access.callers import ANYONE
from dreamserve.api.async_engine import AsyncEngine, never
from dreamserve.api.refusals import BURST, LONGEST_S, REFUSALS_PER_S, Refusals
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve_protocol.errors import DeadlinePassedError, OverloadedError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sample import SampleRequest
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.worlds import WorldsRequest

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that is set by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_first_refusals_are_sent_at_once_and_the_others_at_an_even_pace() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    clock.now_s = 100.0
    delays = [refusals.delay_s() for _ in range(BURST + 50)]
    assert delays[: BURST + 1] == [0.0] * (BURST + 1)
    assert delays[-1] == pytest.approx(49 / REFUSALS_PER_S)
    clock.now_s += 10.0
    assert refusals.delay_s() == 0.0


def test_no_refusal_is_held_back_for_long() -> None:
    refusals = Refusals(Clock())
    delays = [refusals.delay_s() for _ in range(20 * REFUSALS_PER_S)]
    assert max(delays) <= LONGEST_S


async def test_a_refusal_takes_its_pace_over_http(serving, monkeypatch) -> None:
    monkeypatch.setattr(Refusals, "delay_s", lambda _: 0.05)
    async with serving(capacity=1) as client:
        await client.reset(session_id="a")
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        response = await client.post("/reset", {"session_id": "b"})
        assert response.status_code == 429
        assert loop.time() - began_s >= 0.05
        assert int(response.headers["retry-after"]) >= 1


async def test_a_refused_plan_is_told_when_to_come_again(serving) -> None:
    async with serving(max_wait_s=1e-6) as client:
        for name in "ab":
            await client.reset(session_id=name)
        fields = {"horizon": 20, "candidates": 2000, "iterations": 40, "warm_start": False}
        long = asyncio.create_task(client.post("/plan", {"session_id": "a", **fields}))
        while not client.app.service.engine.queue.scheduler.jobs:
            await asyncio.sleep(0.001)
        refused = await client.post("/plan", {"session_id": "b", **fields})
        assert refused.status_code == 429
        assert "this would wait for" in refused.json()["detail"]
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        long.cancel()


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "soon", ""])
async def test_a_timeout_must_be_a_positive_number(client, given) -> None:
    response = await client.post("/reset", {}, **{"x-request-timeout": given})
    assert response.status_code == 422
    assert "x-request-timeout must be a positive number" in response.json()["detail"]


async def test_a_request_whose_timeout_has_passed_is_dropped(client) -> None:
    await client.reset(session_id="a")
    late = {"x-request-timeout": "1e-9"}
    response = await client.post("/step", {"session_id": "a", "action": 1}, **late)
    assert (response.status_code, response.json()["code"]) == (408, "deadline_passed")
    in_time = {"x-request-timeout": "30"}
    response = await client.post("/step", {"session_id": "a", "action": 1}, **in_time)
    assert response.json()["step"] == 1


def test_a_plan_in_progress_is_dropped_once_its_timeout_has_passed() -> None:
    clock = Clock()
    engine = Engine([fake_world()], clock=clock)
    engine.submit(ResetRequest(session_id="a"))
    engine.turn()
    loop = asyncio.new_event_loop()
    plan, step = loop.create_future(), loop.create_future()
    engine.queue.add(PlanRequest("a", horizon=20, candidates=100), plan, timeout_s=1.0)
    for _ in range(5):
        engine.turn()
    assert not plan.done()
    clock.now_s = 1.0
    engine.turn()
    assert isinstance(plan.exception(), DeadlinePassedError)
    assert engine.idle
    engine.queue.add(StepRequest("a", 1), step, timeout_s=0.5)
    engine.turn()
    assert step.result().step == 1
    loop.close()


async def test_a_full_queue_refuses_before_a_turn() -> None:
    engine = Engine([fake_world()], max_queue=1)
    waiting = AsyncEngine(engine)
    waiting.queue(WorldsRequest(), asyncio.get_running_loop().create_future(), ANYONE)
    with pytest.raises(OverloadedError):
        await waiting.send(WorldsRequest(), never, ANYONE)


def test_large_work_that_has_not_begun_is_refused_while_there_is_no_room_for_results() -> None:
    engine = Engine([fake_world()])
    engine.submit(ResetRequest(session_id="a"))
    full = False

    def check(request: Request) -> None:
        if full:
            raise OverloadedError("no room")

    engine.check_room(check)
    large = SampleRequest("a", futures=400, horizon=100, include=["frames"])
    begun, waiting = engine.submit(large), engine.submit(large)
    for _ in range(3):  # the session, the first sample, its first slice
        engine.turn()
    full = True
    late = engine.submit(large)
    while not engine.idle:
        engine.turn()
    assert begun.result().frames is not None
    for refused in (waiting, late):
        assert isinstance(refused.exception(), OverloadedError)
