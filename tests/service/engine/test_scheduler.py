"""The scheduler decides what runs next, without worlds."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamserve.engine.scheduling.jobs import Ask
from dreamserve.engine.scheduling.scheduler import Scheduler
from dreamserve_protocol.errors import OverloadedError


@dataclass(frozen=True)
class QueuedRequest:
    key: str | None
    number: int
    ask: Ask | None = None

    @property
    def arrival(self) -> int:
        return self.number


def scheduler(max_queue: int = 100, max_batch: int = 8, max_jobs: int = 4) -> Scheduler:
    return Scheduler(max_queue=max_queue, max_batch=max_batch, max_jobs=max_jobs)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60), st.integers(1, 5))
def test_a_batch_holds_a_session_once_and_keeps_its_order(
    keys: list[str | None], max_batch: int
) -> None:
    policy = scheduler(max_batch=max_batch)
    for number, key in enumerate(keys):
        policy.add(QueuedRequest(key, number))
    done: list[QueuedRequest] = []
    while policy.ready or policy.jobs:
        batch, jobs = policy.next()
        assert not jobs
        assert 0 < len(batch) <= max_batch
        named = [ticket.key for ticket in batch if ticket.key is not None]
        assert len(set(named)) == len(named)
        for ticket in batch:
            policy.release(ticket)
        done += batch
    assert sorted(ticket.number for ticket in done) == list(range(len(keys)))
    for key in "abc":
        numbers = [ticket.number for ticket in done if ticket.key == key]
        assert numbers == sorted(numbers)
    assert policy.waiting == 0


def test_a_session_waits_until_it_is_released() -> None:
    policy = scheduler()
    first, second = QueuedRequest("a", 0), QueuedRequest("a", 1)
    policy.add(first)
    policy.add(second)
    assert policy.next() == ([first], [])
    assert not policy.ready
    assert not policy.jobs
    policy.release(first)
    assert policy.next() == ([second], [])


def test_a_turn_gets_the_jobs_beside_its_batch() -> None:
    policy = scheduler()
    job = QueuedRequest("p", 0)
    policy.jobs.begin(job, Ask(), 0, now_s=0.0)
    policy.add(QueuedRequest("a", 1))
    assert policy.next() == ([QueuedRequest("a", 1)], [job])
    assert policy.next() == ([], [job])


def test_both_queues_are_bounded() -> None:
    policy = scheduler(max_queue=2, max_jobs=1)
    policy.add(QueuedRequest("a", 0))
    policy.add(QueuedRequest("a", 1))
    with pytest.raises(OverloadedError, match="2 requests are waiting"):
        policy.add(QueuedRequest("b", 0))
    policy.next()
    policy.add(QueuedRequest("b", 0))


def test_long_work_is_refused_before_it_is_queued() -> None:
    policy = scheduler(max_jobs=1)
    policy.add(QueuedRequest("a", 0, Ask()))
    with pytest.raises(OverloadedError, match="1 plans, samples, rollouts or batches"):
        policy.add(QueuedRequest("b", 0, Ask()))
    assert policy.waiting == 1
    policy.next()  # refused while it was handled: it never became a job
    policy.add(QueuedRequest("b", 0, Ask()))


def test_emptying_returns_all_requests() -> None:
    policy = scheduler()
    tickets = [QueuedRequest("a", 0), QueuedRequest("a", 1), QueuedRequest(None, 2)]
    for ticket in tickets:
        policy.add(ticket)
    job = QueuedRequest("x", 3)
    policy.jobs.begin(job, Ask(), 0, now_s=0.0)
    left, jobs = policy.empty()
    assert sorted(left, key=lambda ticket: ticket.number) == tickets
    assert jobs == [job]
    assert not policy.ready
    assert not policy.jobs
    assert policy.waiting == 0


@given(st.permutations(range(4)), st.integers(0, 4), st.booleans())
def test_requests_that_are_put_back_run_in_the_order_of_arrival(
    order: list[int], taken: int, is_parked: bool
) -> None:
    policy = scheduler()
    tickets = [QueuedRequest("a", number) for number in range(4)]
    for number in range(4):  # all of them have run, in vain
        policy.add(tickets[number])
        policy.next()
        policy.release(tickets[number])
    parked: list[QueuedRequest] = []
    for position, number in enumerate(order):  # the head may be taken off the queue meanwhile
        if position == taken and is_parked and policy.ready:
            parked, _ = policy.next()
        policy.put_back(tickets[number])
    for ticket in parked:
        policy.resume(ticket)
    assert policy.waiting == 4
    ran = []
    while policy.ready:
        (ticket,), _ = policy.next()
        ran.append(ticket.number)
        policy.release(ticket)
    assert ran == [0, 1, 2, 3]
    assert policy.waiting == 0
