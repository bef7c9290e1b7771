"""Idle copies of stored sessions make room for others on a full server, and lose nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamserve.engine.fake import fake_world
from dreamserve.engine.limits import Quota
from dreamserve.engine.sessions.table import IDLE_S
from dreamserve.engine.simple import SimpleEngine
from dreamserve.store.memory import MemoryStore
from dreamserve_protocol.batches import ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.errors import OverloadedError
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import DeleteRequest, SessionRequest
from dreamserve_protocol.step import StepRequest

from .durable import RETENTION, FailingStore, Replica, outcome, requests_about


class Clock:
    """Seconds, as told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def replica(clock: Clock) -> Replica:
    """Return a server that is full with sessions a and b."""
    replica = Replica(MemoryStore(RETENTION, clock), capacity=2, clock=clock)
    for session_id in "ab":
        replica.send(ResetRequest(session_id=session_id, seed=ord(session_id)))
        clock.now_s += 1
    return replica


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(st.tuples(st.integers(0, 1), requests_about("abcdef")), max_size=16),
    failures=st.lists(st.sampled_from(["none", "none", "before", "after"]), max_size=12),
)
def test_full_servers_continue_more_sessions_than_fit_as_one_engine_would(
    history: list[tuple[int, Any]], failures: list[str]
) -> None:
    clock, world = Clock(), fake_world()
    store = FailingStore(MemoryStore(RETENTION, clock))
    store.failures = failures
    replicas = [Replica(store, world, capacity=3, clock=clock) for _ in range(2)]
    twin = SimpleEngine([world], clock=clock)
    for number, request in history:
        expected = outcome(twin.send, request)
        assert outcome(replicas[number].send, request) == expected
        assert replicas[number].engine.session_count <= 3
        clock.now_s += IDLE_S + 1
    for replica in replicas:
        replica.engine.stop()


def test_the_session_that_was_idle_for_longest_makes_room(replica: Replica, clock: Clock) -> None:
    clock.now_s += IDLE_S
    replica.send(SessionRequest("b"))
    assert replica.send(ResetRequest(session_id="c", seed=1)).step == 0
    assert set(replica.engine.table.places) == {"b", "c"}
    assert replica.engine.table.measures["fake"].evicted == 1
    clock.now_s += IDLE_S + 1
    assert replica.send(StepRequest("a", 1, step=1)).step == 1
    assert replica.send(SessionRequest("b")).idle_s == pytest.approx(2 * IDLE_S + 2)


def test_sessions_in_use_are_never_evicted(replica: Replica, clock: Clock) -> None:
    clock.now_s += IDLE_S - 3
    with pytest.raises(OverloadedError, match="2 of 2 sessions are in use, 0 of them idle"):
        replica.send(ResetRequest(session_id="c", seed=1))
    clock.now_s += IDLE_S
    for session_id in "ab":
        replica.send(SessionRequest(session_id))
    with pytest.raises(OverloadedError):
        replica.send(ResetRequest(session_id="c", seed=1))


def test_a_full_server_says_when_an_idle_session_makes_room(replica: Replica, clock: Clock) -> None:
    clock.now_s += 20.0
    replica.send(StepRequest("b", 1))
    with pytest.raises(OverloadedError, match="may make room in 3") as refused:
        replica.send(ResetRequest(session_id="c", seed=1))
    assert refused.value.retry_after_s == pytest.approx(IDLE_S - 20.0, abs=3.0)
    clock.now_s += 42.0
    replica.send(SessionRequest("a"))  # keeps it here
    with pytest.raises(OverloadedError) as refused:
        replica.send(ResetRequest(session_id="c", seed=1))
    assert refused.value.retry_after_s == pytest.approx(IDLE_S - 42.0)  # that is b
    clock.now_s += IDLE_S - 41.9
    assert replica.send(ResetRequest(session_id="c", seed=1)).step == 0


def test_a_full_quota_is_told_when_its_next_session_expires(clock: Clock) -> None:
    replica = Replica(MemoryStore(RETENTION, clock), clock=clock, session_ttl_s=1000.0)
    replica.engine.quotas = {"": Quota(sessions=1)}
    replica.send(ResetRequest(session_id="a", seed=1))
    clock.now_s += 20.0
    with pytest.raises(OverloadedError, match="may expire in 980 s") as refused:
        replica.send(ResetRequest(session_id="b", seed=1))
    assert refused.value.retry_after_s == pytest.approx(980.0)


def test_a_session_makes_no_room_for_another_one_of_its_request(
    replica: Replica, clock: Clock
) -> None:
    clock.now_s += IDLE_S + 2
    replica.send(ResetRequest(session_id="c", seed=1))  # in place of a
    clock.now_s += IDLE_S + 2
    result = replica.send(StepBatchRequest(["b", "a"], np.ones(2, np.int64)))
    assert (result.errors, result.steps.tolist()) == ([], [1, 1])
    measures = replica.engine.table.measures["fake"]
    assert (measures.evicted, measures.taken_over) == (2, 1)


def test_a_batch_of_more_sessions_than_fit_ends(replica: Replica, clock: Clock) -> None:
    clock.now_s += IDLE_S + 2
    replica.send(ResetBatchRequest(session_ids=["c", "d"], seeds=[1, 2]))
    rows = list("abcd")
    result = replica.send(StepBatchRequest(rows, np.ones(4, np.int64)))
    assert sorted({error.code for error in result.errors}) == ["overloaded"]
    assert len(result.errors) == 2


def test_a_server_without_a_store_evicts_nothing(clock: Clock) -> None:
    engine = SimpleEngine([fake_world()], capacity=1, clock=clock)
    engine.send(ResetRequest(session_id="a", seed=1))
    clock.now_s += IDLE_S + 1
    with pytest.raises(OverloadedError):
        engine.send(ResetRequest(session_id="b", seed=1))


def test_sessions_of_a_retired_world_are_not_evicted(replica: Replica, clock: Clock) -> None:
    replica.engine.served.add(fake_world())
    clock.now_s += IDLE_S + 2
    with pytest.raises(OverloadedError):
        replica.send(ResetRequest(session_id="c", seed=1))
    assert replica.send(StepRequest("a", 1)).step == 1


def test_a_retired_world_stays_until_the_sessions_that_made_room_have_expired(clock: Clock) -> None:
    ttl_s = 1000.0
    store = MemoryStore(RETENTION, clock)
    replica = Replica(store, fake_world("old"), capacity=1, clock=clock, session_ttl_s=ttl_s)
    table = replica.engine.table
    replica.send(ResetRequest("old", session_id="a", seed=1))
    clock.now_s += IDLE_S + 1
    replica.send(ResetRequest("old", session_id="b", seed=1))
    assert set(table.places) == {"b"}
    replica.engine.served.add(fake_world("new"))
    replica.engine.served.remove("old")
    replica.send(DeleteRequest("b"))
    clock.now_s += 2.0
    assert replica.send(StepRequest("a", 1, step=1)).step == 1
    replica.send(DeleteRequest("a"))
    clock.now_s = ttl_s + 2.0
    table.refresh_now()
    assert [slab.world.name for slab in table.numbered.values()] == ["new"]
