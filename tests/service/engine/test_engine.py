"""The engine: every request gets exactly one result, whatever its caller does."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.base import StepInput, StepOutput
from dreamserve.backends.fake import FakeBackend, fake_spec
from dreamserve.engine.engine import Engine, batch_sizes
from dreamserve.engine.fake import fake_world
from dreamserve.engine.scheduling.queued import QueuedRequest, Settled, settle
from dreamserve.engine.world import World
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    DrainingError,
    OverloadedError,
    SessionNotFoundError,
    WorldNotFoundError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sample import SampleRequest
from dreamserve_protocol.sessions import SessionRequest
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.worlds import WorldRequest, WorldsRequest

Ask = Callable[[Engine, Request], Any]


class Counting(FakeBackend):
    """A fake backend that records the rows of each step batch, and can be blocked."""

    def __init__(self) -> None:
        super().__init__(fake_spec())
        self.rows: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.entered = threading.Event()

    def step(self, batch: StepInput) -> StepOutput:
        self.entered.set()
        assert self.may_go_on.wait(10)
        self.rows.append(len(batch.latent))
        return super().step(batch)


def counted(**options: Any) -> tuple[Engine, Counting]:
    backend = Counting()
    engine = Engine([World(fake_spec(), backend, fake_world().bank)], **options)
    return engine, backend


@contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    engine.start()
    try:
        yield engine
    finally:
        engine.stop(5)


def drain(engine: Engine, turns: int = 50) -> None:
    for _ in range(turns):
        engine.turn()


def with_sessions(engine: Engine, count: int) -> list[str]:
    ids = [f"s{i}" for i in range(count)]
    for seed, session_id in enumerate(ids):
        engine.submit(ResetRequest(session_id=session_id, seed=seed))
    engine.turn()
    return ids


def test_waiting_requests_run_in_one_batch() -> None:
    engine, backend = counted()
    ids = with_sessions(engine, 16)
    futures = [engine.submit(StepRequest(session_id, 1)) for session_id in ids]
    engine.turn()
    assert all(future.done() for future in futures)
    assert backend.rows == [16]


def test_batches_are_padded_to_a_few_warmed_up_sizes() -> None:
    assert batch_sizes(1) == (1,)
    assert batch_sizes(64) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    assert batch_sizes(100) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100)
    engine, backend = counted(max_batch=16)
    engine.warm()
    warm, backend.rows = set(backend.rows), []
    for count in range(1, 30):
        for session_id in with_sessions(engine, count):
            engine.submit(StepRequest(session_id, 1))
        drain(engine, 3)
    assert set(backend.rows) <= warm


def test_steps_of_one_session_keep_their_order() -> None:
    engine, backend = counted()
    with_sessions(engine, 1)
    futures = [engine.submit(StepRequest("s0", 1)) for _ in range(5)]
    drain(engine)
    assert [future.result(0).step for future in futures] == [1, 2, 3, 4, 5]
    assert backend.rows == [1] * 5


def test_a_cancelled_step_is_not_taken() -> None:
    engine, backend = counted()
    with_sessions(engine, 2)
    gone, behind = engine.submit(StepRequest("s0", 1)), engine.submit(StepRequest("s0", 1))
    other = engine.submit(StepRequest("s1", 1))
    assert gone.cancel()
    drain(engine)
    assert gone.cancelled()
    assert (behind.result(0).step, other.result(0).step) == (1, 1)
    assert sum(backend.rows) == 2


def test_a_cancelled_plan_takes_no_more_time() -> None:
    engine, backend = counted()
    with_sessions(engine, 1)
    plan = engine.submit(PlanRequest("s0", candidates=8, horizon=20))
    drain(engine, 3)
    before = len(backend.rows)
    assert before > 0
    assert plan.cancel()
    drain(engine)
    assert len(backend.rows) == before
    assert engine.submit(StepRequest("s0", 1)).cancel()


def test_a_cancelled_reset_makes_no_session(ask: Ask) -> None:
    engine, _ = counted()
    frames = np.zeros((10, 8, 8, 3), np.uint8)
    start = Start(frames=frames, actions=np.zeros(9, np.int64))
    reset = engine.submit(ResetRequest(session_id="a", start=start))
    step = engine.submit(StepRequest("a", 1))
    drain(engine, 3)
    assert reset.cancel()
    drain(engine)
    assert isinstance(step.exception(0), SessionNotFoundError)
    assert engine.session_count == 0


def test_a_reset_in_progress_holds_the_requests_behind_it() -> None:
    engine, _ = counted()
    start = Start(frames=np.zeros((10, 8, 8, 3), np.uint8), actions=np.zeros(9, np.int64))
    reset = engine.submit(ResetRequest(session_id="a", start=start))
    step = engine.submit(StepRequest("a", 1, include=["state"]))
    drain(engine, 3)
    assert not reset.done()
    assert not step.done()
    drain(engine)
    assert reset.result(0).step == 0
    assert step.result(0).state["n"] == 10


def test_steps_run_between_the_slices_of_a_plan() -> None:
    engine, backend = counted(slice_rows=8)
    with_sessions(engine, 2)
    plan = engine.submit(PlanRequest("s0", candidates=32, horizon=10, iterations=2))
    own = engine.submit(StepRequest("s0", 1))  # a plan does not lock its session
    drain(engine, 2)
    assert (own.result(0).step, plan.done()) == (1, False)
    turns = 2
    while not plan.done():
        step = engine.submit(StepRequest("s1", 1, step=None))
        engine.turn()
        turns += 1
        assert step.done()
    assert turns >= 2 * 4 * 10
    assert max(backend.rows) == 8


def test_plans_share_the_engine_in_turn() -> None:
    engine, _ = counted()
    with_sessions(engine, 2)
    long = engine.submit(PlanRequest("s0", candidates=8, horizon=500, iterations=1))
    short = engine.submit(PlanRequest("s1", candidates=8, horizon=3, iterations=1))
    drain(engine, 20)
    assert short.done()
    assert not long.done()
    long.cancel()


def test_a_full_queue_refuses_and_recovers() -> None:
    engine, _ = counted(max_queue=3)
    with_sessions(engine, 1)
    waiting = [engine.submit(StepRequest("s0", 1)) for _ in range(3)]
    with pytest.raises(OverloadedError, match="3 requests are waiting"):
        engine.submit(StepRequest("s0", 1))
    drain(engine)
    assert all(future.done() for future in waiting)
    assert not engine.submit(StepRequest("s0", 1)).done()


def test_too_many_plans_are_refused() -> None:
    engine, _ = counted(max_jobs=1)
    with_sessions(engine, 2)
    first = engine.submit(PlanRequest("s0", horizon=5, candidates=20, iterations=2))
    with pytest.raises(OverloadedError, match="1 plans, samples, rollouts or batches are in"):
        engine.submit(PlanRequest("s1", horizon=5, candidates=20, iterations=2))
    drain(engine)
    assert first.result(0).iterations == 2
    again = engine.submit(PlanRequest("s1", horizon=5, candidates=20, iterations=2))
    drain(engine)
    assert again.result(0).planner == "cem"


def test_callers_in_many_threads_are_all_answered() -> None:
    with running(Engine([fake_world()])) as engine:
        assert engine.ready
        answers: list[int] = []

        def drive(session_id: str) -> None:
            engine.submit(ResetRequest(session_id=session_id)).result(10)
            for _ in range(50):
                engine.submit(StepRequest(session_id, 1)).result(10)
            answers.append(engine.submit(SessionRequest(session_id)).result(10).step)

        threads = [threading.Thread(target=drive, args=(str(i),)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert answers == [50] * 8


def test_stopping_finishes_waiting_requests_and_refuses_new_ones() -> None:
    engine, backend = counted()
    with running(engine):
        ids = [f"s{i}" for i in range(4)]
        resets = [engine.submit(ResetRequest(session_id=i)) for i in ids]
        assert all(future.result(5).step == 0 for future in resets)
        backend.entered.clear()
        backend.may_go_on.clear()
        futures = [engine.submit(StepRequest(i, 1)) for i in ids for _ in range(3)]
        assert backend.entered.wait(5)
        stopping = threading.Thread(target=engine.stop, args=(10,))
        stopping.start()
        backend.may_go_on.set()
        stopping.join(10)
        assert not stopping.is_alive()
        assert {future.result(0).step for future in futures} == {1, 2, 3}
        assert not engine.ready
        with pytest.raises(DrainingError, match="shutting down"):
            engine.submit(StepRequest("s0", 1))


def test_requests_unfinished_at_the_deadline_get_an_error() -> None:
    engine, _ = counted()
    with_sessions(engine, 1)
    plan = engine.submit(PlanRequest("s0", horizon=100_000, candidates=8))
    engine.turn()
    waiting: list[Future[Any]] = [engine.submit(StepRequest("s0", 1)) for _ in range(3)]
    engine.stop(-1)
    for future in (plan, *waiting):
        assert isinstance(future.exception(0), DrainingError)


def test_a_sample_of_a_world_needs_no_session(ask: Ask) -> None:
    engine, _ = counted()
    answer = ask(engine, SampleRequest(futures=3, horizon=4, start=Start(bank=1), seed=1))
    assert answer.latents.shape == (3, 4, 4)
    assert engine.session_count == 0


def test_a_driver_gets_a_turns_outcomes_together_and_resolves_the_futures() -> None:
    class Driver:
        def __init__(self) -> None:
            self.delivered: list[list[Settled]] = []

        def deliver(self, outcomes: list[Settled]) -> None:
            self.delivered.append(outcomes)

    engine, driver = Engine([fake_world()]), Driver()
    ids = with_sessions(engine, 3)
    engine.attach(driver)
    futures: list[Future[Any]] = [Future() for _ in ids]
    for session_id, future in zip(ids, futures, strict=True):
        engine.queue.add(StepRequest(session_id, 1), future)
    engine.turn()
    ((*outcomes,),) = driver.delivered
    assert not any(future.done() for future in futures)
    settle(outcomes)
    assert [future.result(0).session_id for future in futures] == ids


def test_the_outcome_of_a_cancelled_request_is_dropped() -> None:
    engine, _ = counted()
    with_sessions(engine, 1)
    gone, waiting = Future[Any](), Future[Any]()
    assert gone.cancel()
    queued = [QueuedRequest(SessionRequest("s0"), future, "s0") for future in (gone, waiting)]
    settle([(queued[0], "a result"), (queued[0], OverloadedError("no")), (queued[1], "a result")])
    assert gone.cancelled()
    assert waiting.result(0) == "a result"


def test_worlds_are_listed_with_the_default_first_and_found_by_name(ask: Ask) -> None:
    engine = Engine([fake_world("one"), fake_world("two", discrete=False)])
    listed = ask(engine, WorldsRequest()).worlds
    assert [world.name for world in listed] == ["one", "two"]
    assert listed[0].action_space["n"] == 3
    world = ask(engine, WorldRequest("two"))
    assert (world.name, world.action_names, world.latent_size) == ("two", ["first", "second"], 4)
    assert world.manifest["latent_size"] == 4
    with pytest.raises(WorldNotFoundError, match="no world 'three'; loaded: one, two"):
        ask(engine, WorldRequest("three"))
