"""A session belongs to the owner that began it; for any other owner it does not exist."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.limits import Quota
from dreamserve.engine.simple import SimpleEngine
from dreamserve.validation import validated
from dreamserve_protocol.batches import DeleteBatchRequest, ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import OverloadedError, ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.rollout import RolloutRequest
from dreamserve_protocol.sample import SampleRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    Snapshot,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.verbs import BY_REQUEST, VERBS

Same = Callable[[Any, Any], bool]
OWNERS = ("", "ann", "ben")

ABOUT_A: list[Request[Any]] = [  # every request that needs a session, about "a"
    StepRequest("a", 1),
    StepBatchRequest(["a"], [1]),
    DeleteBatchRequest(["a"]),
    SampleRequest("a", futures=2, horizon=2),
    RolloutRequest("a", policy="random", max_steps=2, episodes=2, seed=1),
    PlanRequest("a", horizon=2, candidates=4),
    ForkRequest("a", session_ids=["b"]),
    RewindRequest("a", to_step=0),
    SnapshotRequest("a"),
    SessionRequest("a"),
    DeleteRequest("a"),
]
WITHOUT_ONE = {"reset", "reset_batch", "restore", "worlds", "world", "sessions", "delete_idle"}


def run(engine: Engine, *queued: tuple[str, Request[Any]]) -> list[Any]:
    """Queue all requests, then run turns; return the results or errors in order."""
    futures: list[Future[Any]] = []
    for owner, request in queued:
        futures.append(engine.submit(validated(type(request), request), owner))
    for _ in range(1000):
        if all(future.done() for future in futures):
            break
        engine.turn()
    return [future.exception(0) or future.result(0) for future in futures]


@pytest.mark.parametrize("request_", ABOUT_A, ids=lambda request: type(request).__name__)
@pytest.mark.parametrize(("owner", "other"), [("ann", "ben"), ("", "ann"), ("ann", "")])
def test_another_owners_session_is_answered_like_one_that_does_not_exist(
    request_: Request[Any], owner: str, other: str, same: Same
) -> None:
    engine = Engine([fake_world()])
    run(engine, (owner, ResetRequest(session_id="a", seed=1)))
    before = run(engine, (owner, SnapshotRequest("a")))

    refused = run(engine, (other, request_))
    assert same(refused, run(Engine([fake_world()]), (other, request_)))
    assert "a" in str(refused)
    assert same(run(engine, (owner, SnapshotRequest("a"))), before)
    assert engine.session_count == 1


def test_the_requests_about_sessions_above_are_all_there_are() -> None:
    of_owners = {verb.name for verb in VERBS if not verb.is_admin}
    assert {BY_REQUEST[type(request)].name for request in ABOUT_A} == of_owners - WITHOUT_ONE


@pytest.mark.parametrize("name", ["ann/a", "ann:a", "('ann', 'a')", "ann\0a", "/a", "a"])
def test_no_id_of_a_batch_reaches_the_session_of_another_owner(name: str) -> None:
    """A batch takes malformed ids, whose rows are errors."""
    engine = Engine([fake_world()])
    run(engine, ("ann", ResetRequest(session_id="a")))
    for owner in ("", "an", "ann/", "ben"):
        (stepped,) = run(engine, (owner, StepBatchRequest([name], [1])))
        assert [error.code for error in stepped.errors] == ["session_not_found"]
        (deleted,) = run(engine, (owner, DeleteBatchRequest([name])))
        assert [error.code for error in deleted.errors] == ["session_not_found"]
    assert engine.session_count == 1


def test_two_owners_sessions_of_the_same_id_are_in_one_batch_and_never_wait_for_each_other() -> (
    None
):
    engine = Engine([fake_world()])
    run(engine, *((owner, ResetRequest(session_id="a", seed=3)) for owner in OWNERS))
    futures = [engine.submit(StepRequest("a", i), owner) for i, owner in enumerate(OWNERS)]
    engine.turn()
    assert [future.result(0).session_id for future in futures] == ["a", "a", "a"]
    assert [future.result(0).step for future in futures] == [1, 1, 1]
    assert engine.session_count == 3


def test_a_quota_counts_the_sessions_of_its_owner_only() -> None:
    engine = Engine([fake_world()], capacity=5)
    engine.quotas = {"ann": Quota(sessions=2)}
    (made,) = run(engine, ("ann", ResetBatchRequest(session_ids=["a", "b", "c"])))
    assert [(error.row, error.code) for error in made.errors] == [(2, "overloaded")]
    assert "2 of the 2 sessions of your quota" in made.errors[0].detail
    run(engine, ("ann", DeleteRequest("a")))
    again, forked, beyond = run(
        engine,
        ("ann", ResetRequest(session_id="b")),  # replaces one
        ("ann", ForkRequest("b", session_ids=["c"])),
        ("ann", ForkRequest("b", session_ids=["c", "d"])),
    )
    assert (again.session_id, forked.session_ids) == ("b", ["c"])
    assert isinstance(beyond, OverloadedError)
    assert all(row.session_id for row in run(engine, ("ben", ResetRequest()), ("", ResetRequest())))


def test_expired_sessions_do_not_count_for_a_quota(clock: Any) -> None:
    engine = Engine([fake_world()], session_ttl_s=10, clock=clock)
    engine.quotas = {"ann": Quota(sessions=1)}
    run(engine, ("ann", ResetRequest(session_id="a")))
    clock.now_s = 10.5
    assert run(engine, ("ann", ResetRequest(session_id="b")))[0].session_id == "b"


def test_a_quota_of_jobs_counts_the_plans_of_its_owner_only() -> None:
    engine = Engine([fake_world()], slice_rows=2)
    engine.quotas = {"ann": Quota(jobs=1)}
    run(engine, ("ann", ResetRequest(session_id="a")), ("ben", ResetRequest(session_id="a")))
    plan = PlanRequest("a", horizon=3, candidates=8)
    first, second, *others = run(engine, ("ann", plan), ("ann", plan), ("ben", plan), ("ben", plan))
    assert "1 plans, samples and rollouts of your quota" in str(second)
    assert isinstance(second, OverloadedError)
    assert all(result.planner for result in (first, *others))
    assert run(engine, ("ann", plan))[0].planner


ids = st.sampled_from(["a", "b", "a-fork"])
few = st.integers(0, 3)
observations = st.none() | st.just(np.zeros(4, np.float32))
BANK = Start(bank=8)


def _snapshot() -> Snapshot:
    elsewhere = SimpleEngine([fake_world()])
    elsewhere.send(ResetRequest(session_id="x", seed=9, rewind_window=2))
    elsewhere.send(StepRequest("x", 1))
    return elsewhere.send(SnapshotRequest("x"))


SNAPSHOT = _snapshot()
requests: st.SearchStrategy[Request[Any]] = st.one_of(
    st.builds(
        lambda id, seed, window: ResetRequest(
            session_id=id, seed=seed, start=BANK, rewind_window=window
        ),
        ids,
        few,
        few,
    ),
    st.builds(
        lambda id, seed: ResetBatchRequest(session_ids=[id, "c"], seeds=[seed, 2], bank=[8, 8]),
        ids,
        few,
    ),
    st.builds(
        lambda id, action, step, seen: StepRequest(id, action, step=step, observation=seen),
        ids,
        few,
        st.none() | few.filter(bool),
        observations,
    ),
    st.builds(lambda id, action: StepBatchRequest([id, "c"], [action, 1]), ids, few),
    st.builds(lambda id, seed: ForkRequest(id, session_ids=[f"{id}-fork"], seeds=[seed]), ids, few),
    st.builds(lambda id, step: RewindRequest(id, to_step=step), ids, few),
    st.builds(lambda id: SampleRequest(id, futures=3, horizon=2), ids),
    st.builds(lambda id: RolloutRequest(id, policy="random", max_steps=3, episodes=2), ids),
    st.builds(lambda id: PlanRequest(id, horizon=2, candidates=5), ids),
    st.builds(lambda id: RestoreRequest(id, SNAPSHOT), ids),
    st.builds(lambda id: DeleteBatchRequest([id, "c"]), ids),
    st.builds(lambda kind, id: kind(id), st.sampled_from([DeleteRequest, SessionRequest]), ids),
    st.builds(SnapshotRequest, ids),
)
rounds = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(OWNERS), requests), st.sampled_from([0, 0, 0, 6])),
    max_size=30,
)


class Clock:
    """A clock that moves only when `now_s` is set."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def outcomes_of(
    history: list[tuple[dict[str, Request[Any]], int]], owners: tuple[str, ...], **options: Any
) -> dict[str, list[Any]]:
    """Run the rounds of a history with the requests of these owners only; return their outcomes."""
    clock = Clock()
    engine = Engine([fake_world(nan_action=2)], session_ttl_s=10, clock=clock, **options)
    outcomes: dict[str, list[Any]] = {owner: [] for owner in owners}
    for requests_, pause_s in history:
        clock.now_s += pause_s
        queued = [(owner, sent) for owner, sent in requests_.items() if owner in owners]
        for (owner, _), outcome in zip(queued, run(engine, *queued), strict=True):
            outcomes[owner].append(outcome)
    return outcomes


@given(history=rounds, max_batch=st.integers(1, 4), slice_rows=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_interleaved_owners_get_what_each_gets_alone_bit_for_bit(
    same: Same,
    history: list[tuple[dict[str, Request[Any]], int]],
    max_batch: int,
    slice_rows: int,
) -> None:
    sizes = {"max_batch": max_batch, "slice_rows": slice_rows}
    together = outcomes_of(history, OWNERS, **sizes)
    for owner in OWNERS:
        alone = outcomes_of(history, (owner,), **sizes)
        assert same(together[owner], alone[owner])


@given(history=rounds)
@settings(max_examples=30, deadline=None)
def test_the_simple_twin_keeps_owners_apart_like_the_engine(
    same: Same, history: list[tuple[dict[str, Request[Any]], int]]
) -> None:
    clock = Clock()
    twin = SimpleEngine([fake_world(nan_action=2)], session_ttl_s=10, clock=clock)
    outcomes: dict[str, list[Any]] = {owner: [] for owner in OWNERS}
    for requests_, pause_s in history:
        clock.now_s += pause_s
        for owner, request in requests_.items():
            try:
                outcomes[owner].append(twin.send(validated(type(request), request), owner))
            except ProblemError as error:
                outcomes[owner].append(error)
    assert same(outcomes, outcomes_of(history, OWNERS))
