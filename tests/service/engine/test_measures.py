"""What the engine measures: histograms, and the counts of sessions, batches and deadlines."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.histogram import FOLD, SECONDS, Histogram
from dreamserve.store.memory import MemoryStore
from dreamserve_protocol.batches import StepBatchRequest
from dreamserve_protocol.errors import SessionNotFoundError, StoreUnavailableError
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import DeleteRequest
from dreamserve_protocol.step import StepRequest

from .durable import RETENTION, FailingStore, Replica


class Engined:
    """An engine without a thread."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.engine = Engine([fake_world()], session_ttl_s=60.0, clock=lambda: self.now_s)
        self.measures, self.slab = self.engine.measures, self.engine.usage.of_worlds["fake"]

    def send(self, *requests):
        futures = [self.engine.submit(request) for request in requests]
        while not self.engine.idle:
            self.engine.turn()
        return [future.exception() or future.result() for future in futures]


@pytest.fixture
def run() -> Engined:
    return Engined()


def test_a_value_counts_up_to_every_bound_that_it_does_not_exceed():
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in (0.5, 1.0, 1.5, 4.0, 100.0):
        histogram.add(value)
    assert histogram.read() == ([2, 3, 4, 5], 107.0)


def test_no_value_is_lost_or_counted_twice_when_others_read_meanwhile():
    histogram, counts = Histogram(SECONDS), []
    done = threading.Event()

    def read():
        while not done.is_set():
            counts.append(histogram.count)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50 * FOLD + 7):
        histogram.add(0.5)
    done.set()
    reader.join(30)
    assert histogram.count == 50 * FOLD + 7
    assert counts == sorted(counts)


def test_requests_are_timed_by_verb_from_the_queue_to_the_result(run):
    run.send(ResetRequest(session_id="a"), ResetRequest(session_id="b"))
    run.send(StepRequest("a", 1), StepRequest("b", 1))
    run.send(StepRequest("a", 1), DeleteRequest("b"))
    latency = run.measures.latency_s
    assert {kind: one.count for kind, one in latency.items() if one.count} == {
        ResetRequest: 2,
        StepRequest: 3,
        DeleteRequest: 1,
    }
    assert run.measures.queue_s.count == 6
    assert run.measures.batch_s.count == 3
    assert 0 < run.measures.queue_s.read()[1] < latency[StepRequest].read()[1] + 60


def test_errors_have_no_latency(run):
    (error,) = run.send(StepRequest("nobody", 1))
    assert isinstance(error, SessionNotFoundError)
    assert run.measures.latency_s[StepRequest].count == 0
    assert run.measures.queue_s.count == 1


def test_a_cancelled_request_is_counted_as_such(run):
    future = run.engine.submit(ResetRequest(session_id="a"))
    future.cancel()
    run.engine.turn()
    assert run.measures.cancelled == 1
    assert run.measures.latency_s[ResetRequest].count == 0


def test_step_batches_are_counted_by_size_whatever_asked_for_them(run):
    run.send(*(ResetRequest(session_id=name) for name in "abc"))
    run.send(StepRequest("a", 1), StepRequest("b", 1))
    run.send(StepBatchRequest(session_ids=["a", "b", "c"], actions=np.ones(3, np.int64)))
    assert run.slab.step_rows.count == 2
    assert run.slab.step_rows.read()[1] == 5


def test_failed_rows_of_a_batch_are_counted_by_code(run):
    run.send(ResetRequest(session_id="a"))
    run.send(StepBatchRequest(session_ids=["a", "nobody"], actions=np.ones(2, np.int64)))
    assert run.measures.row_errors == {("step_batch", "session_not_found"): 1}
    assert run.measures.latency_s[StepBatchRequest].count == 1


def test_sessions_are_counted_as_they_begin_end_and_expire(run):
    run.send(ResetRequest(session_id="a"), ResetRequest(session_id="b"))
    run.send(ResetRequest(session_id="a"))
    run.send(DeleteRequest("b"))
    run.now_s += 120
    run.send(StepRequest("a", 1))
    slab = run.slab
    assert (slab.created, slab.deleted, slab.expired) == (3, 2, 1)


def test_the_surprise_of_observed_steps_is_counted(run):
    (started,) = run.send(ResetRequest(session_id="a"))
    (stepped,) = run.send(StepRequest("a", 1, observation=np.zeros_like(started.latent)))
    run.send(StepRequest("a", 1))
    assert run.slab.surprise.count == 1
    assert run.slab.surprise.read()[1] == pytest.approx(stepped.info["surprise"])


def test_a_plan_that_comes_after_its_budget_is_a_missed_deadline(run):
    run.send(ResetRequest(session_id="a"))
    run.send(PlanRequest("a", horizon=2, candidates=4))
    run.send(PlanRequest("a", horizon=2, candidates=4, budget_ms=60_000))
    assert run.measures.missed_deadlines == 0
    run.send(PlanRequest("a", horizon=2, candidates=4, budget_ms=1e-3))
    assert run.measures.missed_deadlines == 1


def test_the_sessions_of_a_replaced_world_are_counted_with_those_of_its_successor(run):
    run.send(ResetRequest(session_id="a"))
    run.engine.served.add(fake_world())
    run.send(ResetRequest(session_id="b"))
    assert (run.engine.usage.live, run.slab.created) == ({"fake": 2}, 2)
    run.send(DeleteRequest("a"))
    run.now_s += 2
    run.send(StepRequest("b", 1))
    assert (run.engine.usage.live, run.slab.created, run.slab.deleted) == ({"fake": 1}, 2, 1)
    assert run.slab.step_rows.count == 1


@pytest.fixture
def replicas() -> Iterator[tuple[Replica, Replica, FailingStore]]:
    """Return two engines on one store, which fails as told to the first."""
    store = MemoryStore(RETENTION)
    failing = FailingStore(store)
    pair = Replica(failing, timeout_s=0.05), Replica(store)
    yield *pair, failing
    for one in pair:
        one.engine.stop(1.0)


def test_sessions_that_move_are_counted_where_they_were_and_where_they_are(replicas):
    here, there, _ = replicas
    here.send(ResetRequest(session_id="a"))
    there.send(StepRequest("a", 1))
    here.send(StepRequest("a", 1))  # refused, then run again on the session taken back
    measured, commits = here.engine.usage.of_worlds["fake"], here.engine.gate.committer.measures
    assert (measured.created, measured.taken_over, measured.lost) == (1, 1, 1)
    assert (commits.confirmed, commits.refused, commits.failed) == (2, 1, 0)
    assert (measured.deleted, measured.expired) == (0, 0)
    assert there.engine.usage.of_worlds["fake"].taken_over == 1
    assert here.engine.usage.live == {"fake": 1}
    assert commits.take_s.count >= 1


def test_a_request_is_timed_once_when_the_store_has_confirmed_it(replicas):
    here, there, _ = replicas
    here.send(ResetRequest(session_id="a"))
    there.send(StepRequest("a", 1))
    here.send(StepRequest("a", 1))  # runs twice
    assert here.engine.measures.latency_s[StepRequest].count == 1


def test_a_store_that_does_not_respond_is_seen_and_counted(replicas):
    here, _, failing = replicas
    here.send(ResetRequest(session_id="a"))
    failing.is_down = True
    with pytest.raises(StoreUnavailableError):
        here.send(StepRequest("a", 1))
    committer, measures = here.engine.gate.committer, here.engine.gate.committer.measures
    assert not committer.is_up
    assert (measures.confirmed, measures.failed) == (1, 1)
    assert measures.errors >= 1
    assert measures.commit_s.count == 1
    assert here.engine.measures.latency_s[StepRequest].count == 0
    failing.is_down = False
    here.send(StepRequest("a", 1))
    assert committer.is_up
    assert here.engine.usage.of_worlds["fake"].lost == 1
