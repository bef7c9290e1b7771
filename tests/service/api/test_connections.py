"""Budgets that many connections share."""

import asyncio
import resource

import pytest

from dreamserve.api import files
from dreamserve.api.connections import Budget
from dreamserve.errors import SettingsError
from dreamserve_protocol.errors import OverloadedError

pytestmark = pytest.mark.anyio


async def test_what_is_taken_has_a_limit() -> None:
    budget = Budget(10, "things")
    budget.take(6)
    with pytest.raises(OverloadedError, match="things hold 10 bytes, the limit of all clients"):
        budget.take(5)
    budget.free(1)
    budget.take(5)
    assert budget.held == 10


async def test_who_waits_is_served_in_order_and_before_who_asks() -> None:
    budget = Budget(10, "things")
    budget.take(8)
    large, small = asyncio.create_task(budget.wait_for(9)), asyncio.create_task(budget.wait_for(1))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        budget.check()
    budget.free(8)
    assert [await large, await small] == [9, 1]
    assert budget.held == 10


async def test_more_than_the_limit_waits_for_all_of_it() -> None:
    budget = Budget(10, "things")
    assert await budget.wait_for(1000) == 10


async def test_who_stops_waiting_holds_nothing() -> None:
    budget = Budget(10, "things")
    budget.take(10)
    tasks = [asyncio.create_task(budget.wait_for(5)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    budget.free(5)
    tasks[1].cancel()  # after it was granted, and before it knew
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert await tasks[2] == 5
    assert budget.held == 10


@pytest.mark.parametrize(
    ("soft", "hard", "connections"),
    [(10_000, 20_000, 2000), (256, 20_000, 2000), (256, 256, 158), (-1, -1, 2000), (256, -1, 2000)],
)
def test_the_limit_of_files_bounds_connections(monkeypatch, soft, hard, connections) -> None:
    raised = []
    monkeypatch.setattr(files, "_open_files", lambda: 50)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert files.connection_limit(2000) == connections
    assert raised == ([(hard if hard == 256 else 2098, hard)] if soft == 256 else [])


def test_a_limit_of_files_without_room_for_connections_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr(files, "_open_files", lambda: 50)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with pytest.raises(SettingsError, match="limit of 100 open files leaves no room"):
        files.connection_limit(2000)
