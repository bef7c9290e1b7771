"""Requests that wait to be read with others, while such requests are refused."""

import asyncio

import pytest

from dreamserve.api.groups import FEW_JOBS, GROUP, MOST_BYTES, PATHS, RECENT_S, WAIT_S, Groups

pytestmark = pytest.mark.anyio

PLAN = b"POST /plan HTTP/1.1\r\nhost: a\r\n\r\n{}"


class Load:
    """Groups beside a load that is set by hand."""

    def __init__(self) -> None:
        self.now_s, self.jobs = 100.0, FEW_JOBS
        self.groups = Groups(lambda: self.jobs, lambda: self.now_s)
        self.groups.refused(b"/plan")


def test_requests_wait_while_others_of_their_path_are_refused() -> None:
    load = Load()
    assert load.groups.must_wait(PLAN)
    load.now_s += RECENT_S
    assert load.groups.must_wait(PLAN)
    load.now_s += 0.001
    assert not load.groups.must_wait(PLAN)
    assert not load.groups.refused_at_s


@pytest.mark.parametrize(
    "data",
    [
        PLAN.replace(b"/plan", b"/step"),
        PLAN.replace(b"{}", b'{"budget_ms": 20}'),
        PLAN.replace(b"host: a", b"host: a\r\nX-Request-Timeout: 1"),
        PLAN + b" " * MOST_BYTES,
        b"x",
    ],
    ids=["of another path", "with a budget", "with a timeout", "large", "a part"],
)
def test_other_requests_are_read_at_once(data: bytes) -> None:
    assert not Load().groups.must_wait(data)


def test_requests_are_read_at_once_if_the_engine_could_wait_for_them() -> None:
    load = Load()
    load.jobs -= 1
    assert not load.groups.must_wait(PLAN)


def test_few_paths_are_remembered() -> None:
    load = Load()
    for number in range(10 * PATHS):
        load.groups.refused(b"/%d" % number)
    assert len(load.groups.refused_at_s) <= PATHS


async def test_a_group_is_read_when_it_is_complete_or_its_time_is_over() -> None:
    loop, groups, read = asyncio.get_running_loop(), Load().groups, list[int]()
    for number in range(GROUP - 1):
        groups.add(lambda number=number: read.append(number), loop)
    assert not read
    groups.add(lambda: read.append(-1), loop)
    assert read == [*range(GROUP - 1), -1]
    began_s, over = loop.time(), asyncio.Event()
    groups.add(over.set, loop)
    async with asyncio.timeout(10.0):
        await over.wait()
    assert loop.time() - began_s >= 0.8 * WAIT_S
    assert len(read) == GROUP


async def test_a_refusal_for_the_load_marks_its_path(serving) -> None:
    async with serving(capacity=1) as client:
        groups = client.app.service.connections.groups
        await client.reset(session_id="a")
        await client.post("/step", {"session_id": "b", "action": 1})
        assert not groups.refused_at_s
        await client.post("/reset", {"session_id": "b"})
        assert list(groups.refused_at_s) == [b"/reset"]
