"""The engine under random schedules equals its simple twin bit for bit, and a model of sessions."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.simple import SimpleEngine
from dreamserve.validation import validated
from dreamserve_protocol.batches import StepBatchRequest
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    DreamserveError,
    OverloadedError,
    ProblemError,
    SessionExpiredError,
    SessionNotFoundError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.policies import LinearPolicy
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.rollout import RolloutRequest
from dreamserve_protocol.sample import SampleRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest

Same = Callable[[Any, Any], bool]
Ask = Callable[[Engine, Request], Any]

ids = st.sampled_from("abcde")
seeds = st.integers(0, 5)
includes = st.lists(st.sampled_from(["frame", "state"]), unique=True)
FRAMES = np.random.default_rng(1).integers(0, 255, (12, 8, 8, 3)).astype(np.uint8)
contexts = st.integers(1, 12).map(
    lambda count: Start(frames=FRAMES[:count], actions=np.arange(count - 1) % 3)
)
starts = st.none() | st.integers(0, 17).map(lambda entry: Start(bank=entry)) | contexts
POLICIES = LinearPolicy(np.random.default_rng(2).standard_normal((3, 3, 8)))
observations = st.none() | st.sampled_from([FRAMES[0], np.zeros(4, np.float32)])


class Schedules(RuleBasedStateMachine):
    """Submits every request to the engine and its twin; the engine runs when the schedule says."""

    same: Same

    @initialize(max_batch=st.integers(1, 6), slice_rows=st.integers(1, 5))
    def begin(self, max_batch: int, slice_rows: int) -> None:
        world = fake_world(nan_action=2)
        self.engine = Engine([world], max_batch=max_batch, slice_rows=slice_rows)
        self.twin = SimpleEngine([world])
        self.submitted: list[tuple[Future[Any], Any]] = []
        self.forks = 0
        elsewhere = SimpleEngine([world])
        elsewhere.send(ResetRequest(session_id="a", seed=9, rewind_window=2))
        elsewhere.send(StepRequest("a", 1, observation=FRAMES[0]))
        self.snapshot = elsewhere.send(SnapshotRequest("a"))

    def ask(self, request: Request) -> None:
        request = validated(type(request), request)
        self.submitted.append((self.engine.submit(request), self.expected(type(request), request)))

    def expected(self, kind: type[Request], fields: Any) -> Any:
        try:
            return self.twin.send(validated(kind, fields))
        except DreamserveError as error:
            return error

    @rule(
        session_id=ids,
        seed=seeds,
        start=starts,
        rewind_window=st.sampled_from([0, 3]),
        include=includes,
    )
    def reset(
        self, session_id: str, seed: int, start: Any, rewind_window: int, include: Any
    ) -> None:
        request = ResetRequest(
            session_id=session_id,
            seed=seed,
            start=start,
            rewind_window=rewind_window,
            include=include,
        )
        self.ask(request)

    @rule(
        session_id=ids,
        action=st.sampled_from([0, 0, 1, 1, 2, 3]),
        step=st.none() | st.integers(1, 5),
        observation=observations,
        include=includes,
    )
    def step(self, session_id: str, action: int, step: Any, observation: Any, include: Any) -> None:
        request = StepRequest(
            session_id, action, step=step, observation=observation, include=include
        )
        self.ask(request)

    @rule(session_id=ids, action=st.sampled_from([0, 1]), count=st.integers(2, 4))
    def steps_in_a_row(self, session_id: str, action: int, count: int) -> None:
        for _ in range(count):
            self.ask(StepRequest(session_id, action))

    @rule(
        rows=st.lists(
            st.tuples(ids, st.integers(0, 2), st.integers(0, 4)),
            min_size=1,
            unique_by=lambda row: row[0],
        ),
        numbered=st.booleans(),
    )
    def step_batch(self, rows: list[tuple[str, int, int]], numbered: bool) -> None:
        """A batch's rows equal the twin's single steps, with their own results or errors."""
        self.teardown()
        sent, actions, steps = zip(*rows, strict=True)
        answer = self.engine.submit(
            StepBatchRequest(sent, np.array(actions), steps=np.array(steps) if numbered else None)
        )
        while not answer.done():
            self.engine.turn()
        batch = answer.result(0)
        errors = []
        for i, (session_id, action, step) in enumerate(rows):
            fields = {"session_id": session_id, "action": action}
            expected = self.expected(StepRequest, fields | ({"step": step} if numbered else {}))
            if isinstance(expected, ProblemError):
                errors.append((i, expected.code, expected.status))
                continue
            assert batch.steps[i] == expected.step
            assert (batch.rewards[i], batch.terminated[i]) == (expected.reward, expected.terminated)
            assert batch.latents[i].tobytes() == expected.latent.tobytes()
        assert [(error.row, error.code, error.status) for error in batch.errors] == errors

    @rule(session_id=ids, steps=st.integers(0, 4), absolute=st.booleans())
    def rewind(self, session_id: str, steps: int, absolute: bool) -> None:
        self.ask(RewindRequest(session_id, **{"to_step" if absolute else "steps": steps}))

    @rule(session_id=ids, fork_seeds=st.lists(seeds, min_size=1, max_size=3) | st.none())
    def fork(self, session_id: str, fork_seeds: list[int] | None) -> None:
        """Fork into new ids: requests about different sessions may be answered in any order."""
        self.forks += 1
        names = [f"fork{self.forks}-{i}" for i in range(len(fork_seeds or "1"))]
        self.ask(ForkRequest(session_id, session_ids=names, seeds=fork_seeds))

    @rule(session_id=ids)
    def take_a_snapshot(self, session_id: str) -> None:
        self.ask(SnapshotRequest(session_id))

    @rule(session_id=ids)
    def restore(self, session_id: str) -> None:
        self.ask(RestoreRequest(session_id, self.snapshot))

    @rule(session_id=ids, kind=st.sampled_from([SessionRequest, DeleteRequest]))
    def look_or_delete(self, session_id: str, kind: type[Request]) -> None:
        self.ask(kind(session_id))

    @rule(session_id=ids, futures=st.integers(1, 7), seed=st.none() | seeds)
    def sample(self, session_id: str, futures: int, seed: Any) -> None:
        actions = np.zeros(3, np.int64)
        request = SampleRequest(session_id, futures=futures, horizon=3, actions=actions, seed=seed)
        self.ask(request)

    @rule(
        session_id=ids,
        planner=st.sampled_from(["random_shooting", "cem", "icem", "mppi"]),
        particles=st.integers(1, 2),
    )
    def plan(self, session_id: str, planner: str, particles: int) -> None:
        """Without warm start, which would depend on the plans that have ended by then."""
        numbers = {"horizon": 3, "candidates": 7, "iterations": 2, "particles": particles}
        self.ask(PlanRequest(session_id, planner=planner, **numbers, warm_start=False))

    @rule(session_id=st.none() | ids, episodes=st.integers(1, 4), seed=seeds)
    def rollout(self, session_id: str | None, episodes: int, seed: int) -> None:
        """Some of the policies take the action that gives NaN."""
        request = RolloutRequest(
            session_id, policy=POLICIES, max_steps=4, episodes=episodes, seed=seed
        )
        self.ask(request)

    @rule(turns=st.integers(1, 10))
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.engine.turn()

    @invariant()
    def every_answer_is_the_twins(self) -> None:
        waiting = []
        for future, expected in getattr(self, "submitted", []):
            if not future.done():
                waiting.append((future, expected))
                continue
            answer = future.exception(0) or future.result(0)
            assert type(self).same(answer, expected), (answer, expected)
        self.submitted = waiting

    def teardown(self) -> None:
        for _ in range(2000):
            if not getattr(self, "submitted", []):
                return
            self.engine.turn()
            self.every_answer_is_the_twins()
        raise AssertionError(f"{len(self.submitted)} requests were never answered")


@pytest.mark.slow
def test_any_schedule_gives_the_results_of_one_request_at_a_time(same: Same) -> None:
    machine = type("Schedules", (Schedules,), {"same": staticmethod(same)})
    schedules = 3 * settings().max_examples
    run_state_machine_as_test(
        machine, settings=settings(max_examples=schedules, stateful_step_count=25, deadline=None)
    )


CAPACITY, TTL_S = 3, 10


class Lifetimes(RuleBasedStateMachine):
    """Sessions are created, deleted, expire and fill the server; a dict models them."""

    ask: Callable[[Engine, Request], Any]

    @initialize()
    def begin(self) -> None:
        self.now_s = 0.0
        self.engine = Engine(
            [fake_world()], capacity=CAPACITY, session_ttl_s=TTL_S, clock=lambda: self.now_s
        )
        self.used_at_s: dict[str, float] = {}
        self.steps: dict[str, int] = {}
        self.expired: set[str] = set()

    def expire(self) -> None:
        for session_id, used_at_s in list(self.used_at_s.items()):
            if self.now_s - used_at_s > TTL_S:
                del self.used_at_s[session_id]
                self.expired.add(session_id)

    def refused(self, request: Request, error: type[DreamserveError]) -> None:
        with pytest.raises(error):
            type(self).ask(self.engine, request)

    @rule(session_id=ids)
    def reset(self, session_id: str) -> None:
        self.expire()
        request = ResetRequest(session_id=session_id, seed=1, start=Start(bank=8))
        if session_id not in self.used_at_s and len(self.used_at_s) == CAPACITY:
            self.refused(request, OverloadedError)
            return
        assert type(self).ask(self.engine, request).step == 0
        self.used_at_s[session_id], self.steps[session_id] = self.now_s, 0
        self.expired.discard(session_id)

    @rule(session_id=ids)
    def step(self, session_id: str) -> None:
        self.expire()
        observation = np.zeros(4, np.float32)  # no dream ends
        request = StepRequest(session_id, 1, observation=observation)
        if session_id not in self.used_at_s:
            gone = session_id in self.expired
            self.refused(request, SessionExpiredError if gone else SessionNotFoundError)
            return
        self.steps[session_id] += 1
        assert type(self).ask(self.engine, request).step == self.steps[session_id]
        self.used_at_s[session_id] = self.now_s

    @precondition(lambda self: self.used_at_s)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.expire()
        if not self.used_at_s:
            return
        session_id = data.draw(st.sampled_from(sorted(self.used_at_s)))
        found = type(self).ask(self.engine, SessionRequest(session_id))
        assert found.step == self.steps[session_id]
        assert found.idle_s == self.now_s - self.used_at_s.pop(session_id)
        assert type(self).ask(self.engine, DeleteRequest(session_id)) is None
        self.refused(SessionRequest(session_id), SessionNotFoundError)

    @rule(passed_s=st.sampled_from([1, 5, 9, 11]))
    def wait(self, passed_s: float) -> None:
        self.now_s += passed_s


def test_sessions_are_created_and_end_like_those_of_a_model(ask: Ask) -> None:
    machine = type("Lifetimes", (Lifetimes,), {"ask": staticmethod(ask)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
