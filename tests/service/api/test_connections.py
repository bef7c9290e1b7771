"""Budgets that many connections share."""

import asyncio
import resource

import pytest

from dreamserve.api import files
from dreamserve.api.budgets import Budget
from dreamserve.api.connections import STALLED_S, Connections
from dreamserve.errors import SettingsError
from dreamserve.settings import Settings
from dreamserve_protocol.errors import OverloadedError

pytestmark = pytest.mark.anyio


async def test_what_is_taken_has_a_limit() -> None:
    budget = Budget(10, "things")
    budget.take(6, "a")
    with pytest.raises(OverloadedError, match="things hold 10 bytes, the limit of all clients"):
        budget.take(5, "b")
    budget.free(1, "a")
    budget.take(5, "b")
    assert budget.held == 10


async def test_who_waits_is_served_in_order_and_before_who_asks() -> None:
    budget = Budget(10, "things")
    budget.take(8, "a")
    large = asyncio.create_task(budget.wait_for(9, "b"))
    small = asyncio.create_task(budget.wait_for(1, "c"))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        budget.check("b")
    assert not small.done()
    budget.free(8, "a")
    assert [await large, await small] == [9, 1]
    assert budget.held == 10


async def test_a_client_holds_more_than_one_thing_only_while_as_much_is_free() -> None:
    budget = Budget(100, "things")
    budget.take(45, "greedy")
    budget.take(40, "greedy", already=45)  # the same thing
    budget.free(60, "greedy")
    budget.take(25, "greedy")
    with pytest.raises(OverloadedError, match="your things hold 50 bytes, your share"):
        budget.take(1, "greedy")
    budget.take(49, "other")  # one thing of any size
    with pytest.raises(OverloadedError, match="the limit of all clients"):
        budget.take(2, "third")


@pytest.mark.parametrize("clients", [1, 2, 5])
async def test_greedy_clients_share_a_budget_and_leave_room_for_the_next_one(clients) -> None:
    budget = Budget(10_000, "things")
    greedy = [str(number) for number in range(clients)]
    for client in greedy * 1000:
        if budget.lacks_of(client, 10) <= 0:
            budget.take(10, client)
    for client in greedy:
        assert budget.held_by(client) == pytest.approx(10_000 / (clients + 1), abs=20)
    budget.take(10_000 // (clients + 1) - 100, "next")


async def test_clients_get_room_in_turns() -> None:
    budget, order = Budget(10, "things"), list[str]()

    async def want(client: str) -> None:
        await budget.wait_for(10, client)
        order.append(client)
        await asyncio.sleep(0)
        budget.free(10, client)

    budget.take(10, "a")
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for client in "aaaabc":
            group.create_task(want(client))
        await asyncio.sleep(0)
        budget.free(10, "a")
    assert "".join(order) == "abcaaa"


async def test_who_waits_for_its_own_things_keeps_nobody_waiting() -> None:
    budget = Budget(100, "things")
    budget.take(50, "greedy")
    waiting = asyncio.create_task(budget.wait_for(10, "greedy"))
    await asyncio.sleep(0)
    assert await budget.wait_for(20, "other") == 20
    budget.check("third")
    assert not waiting.done()
    assert budget.excess == 20  # until as much is free: 30 of 60
    budget.free(20, "greedy")
    assert await waiting == 10


class Reader:
    """A connection whose client does not read."""

    leaves = False

    def __init__(self, counts_for: str) -> None:
        self.counts_for, self.transport, self.is_gone = counts_for, self, False

    def is_closing(self) -> bool:
        return self.is_gone

    def abort(self) -> None:
        self.is_gone = True


def test_who_holds_most_unread_is_disconnected_first() -> None:
    connections = Connections(Settings(max_responses_bytes=100))
    slow, *greedy = (Reader(name) for name in ("slow", "greedy", "greedy", "greedy"))
    connections.unread(slow, 20, 0.0)
    for one in greedy:
        connections.unread(one, 25, 1.0)
    connections.unread(Reader("new"), 20, 1.0 + STALLED_S)
    assert [one.is_gone for one in (slow, *greedy)] == [False, True, False, False]


async def test_more_than_the_limit_waits_for_all_of_it() -> None:
    budget = Budget(10, "things")
    assert await budget.wait_for(1000) == 10


async def test_who_stops_waiting_holds_nothing() -> None:
    budget = Budget(10, "things")
    budget.take(5, "a")
    budget.take(5, "b")
    tasks = [asyncio.create_task(budget.wait_for(5, client)) for client in "cde"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    budget.free(5, "a")
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
