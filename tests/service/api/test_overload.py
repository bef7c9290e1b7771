"""Requests that come too late or too often: what they get, and at which pace."""

import asyncio

import pytest

from dreamserve.api.access.callers import ANYONE
from dreamserve.api.async_engine import AsyncEngine, never
from dreamserve.api.refusals import (
    AGAIN_BURST,
    AGAIN_PER_S,
    FIRST_BURST,
    FIRST_PER_S,
    LONGEST_S,
    REMEMBERED,
    TOGETHER_S,
    Refusals,
)
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

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def refused(refusals: Refusals, sessions: range, retry_after_s: float = 2.0) -> list[float]:
    """The delays of refused plans of these sessions, in order."""
    error = OverloadedError("many plans")
    error.retry_after_s = retry_after_s
    return [refusals.delay_s("", PlanRequest(f"s{i}"), error) for i in sessions]


def test_clients_that_come_once_are_refused_at_once() -> None:
    clock = Clock(100.0)
    refusals = Refusals(clock)
    for _ in range(10):
        clock.now_s += 3.0  # after Retry-After
        assert refused(refusals, range(FIRST_BURST)) == [0.0] * FIRST_BURST


def test_clients_that_ignore_retry_after_are_refused_at_a_slow_pace() -> None:
    clock = Clock(100.0)
    refusals = Refusals(clock)
    refused(refusals, range(300))
    clock.now_s += 1.9
    delays = refused(refusals, range(300))
    assert delays[:AGAIN_BURST] == [0.0] * AGAIN_BURST
    last_s = (299 - AGAIN_BURST) / AGAIN_PER_S
    assert last_s <= delays[-1] <= last_s + TOGETHER_S
    due_s = {round(clock.now_s + delay_s, 6) for delay_s in delays if delay_s}
    assert len(due_s) <= 1 + last_s / TOGETHER_S  # ten at a time
    assert refused(refusals, range(300, 310)) == [0.0] * 10  # others do not wait for them
    clock.now_s += 20.0
    assert refused(refusals, range(300)) == [0.0] * 300


def test_very_many_new_clients_are_refused_at_a_pace() -> None:
    delays = refused(Refusals(Clock(100.0)), range(2 * FIRST_BURST))
    last_s = (FIRST_BURST - 1) / FIRST_PER_S
    assert last_s <= delays[-1] <= last_s + TOGETHER_S


def test_no_refusal_is_held_back_for_long_and_few_are_remembered() -> None:
    refusals = Refusals(Clock())
    delays = refused(refusals, range(20_000)) + refused(refusals, range(19_000, 20_000))
    assert max(delays) <= LONGEST_S + TOGETHER_S
    assert len(refusals._not_before_s) == REMEMBERED


async def test_a_refusal_takes_its_pace_over_http(serving, monkeypatch) -> None:
    monkeypatch.setattr(Refusals, "delay_s", lambda *_: 0.05)
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
