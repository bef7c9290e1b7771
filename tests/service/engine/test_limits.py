"""The engine's general refusals: too much work at once, and new sessions while draining."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.fake import fake_spec
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.limits import Limits
from dreamserve.engine.scheduling.jobs import SMALL_BYTES
from dreamserve.engine.sessions.sizes import answer_bytes
from dreamserve.engine.sessions.slab import slab_bytes
from dreamserve.local import LocalClient
from dreamserve_protocol.batches import DeleteBatchRequest, ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.branches import ForkRequest
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import DrainingError, TooLargeError
from dreamserve_protocol.listing import AdminDeleteRequest
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.policies import LinearPolicy
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.rollout import RolloutRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    Snapshot,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.worlds import WorldsRequest

Ask = Callable[[Engine, Request], Any]


def test_a_draining_server_resets_only_existing_sessions(ask: Ask) -> None:
    engine = Engine([fake_world()])
    ask(engine, ResetRequest(session_id="a"))
    snapshot = ask(engine, SnapshotRequest("a"))
    engine.drain()
    for request in (ResetRequest(), ResetRequest(session_id="b"), RestoreRequest("b", snapshot)):
        with pytest.raises(DrainingError, match="takes no new sessions"):
            ask(engine, request)
    assert ask(engine, StepRequest("a", 1)).step == 1
    assert ask(engine, RestoreRequest("a", snapshot)).step == 0
    assert ask(engine, ResetRequest(session_id="a")).step == 0
    for request in (ResetBatchRequest(2), ResetBatchRequest(session_ids=["b", "c"])):
        with pytest.raises(DrainingError, match="takes no new sessions"):
            ask(engine, request)
    batch = ask(engine, ResetBatchRequest(session_ids=["a", "b"]))
    assert [(error.row, error.code) for error in batch.errors] == [(1, "draining")]
    assert engine.session_count == 1


def _snapshot() -> Snapshot:
    dream = LocalClient(fake_world())
    dream.reset(session_id="a", seed=1, rewind_window=2)
    return dream.snapshot("a")


SNAPSHOT = _snapshot()
TWO_FRAMES = Start(frames=np.zeros((2, 8, 8, 3), np.uint8), actions=np.array([1]))
OVER_THE_LIMITS: list[tuple[dict[str, float], Request, str]] = [
    ({"rewind_window": 3}, ResetRequest(rewind_window=4), "rewind_window: 4 steps, the limit is 3"),
    ({"frames": 1}, ResetRequest(start=TWO_FRAMES), "start.frames: 2 frames, the limit is 1"),
    ({"rows": 2}, ResetBatchRequest(3), "3 rows of a batch, the limit is 2"),
    ({"rewind_window": 3}, ResetBatchRequest(1, rewind_window=4), "rewind_window: 4 steps"),
    ({"rows": 1}, StepBatchRequest(["a", "b"], np.array([1, 1])), "2 rows of a batch"),
    ({"rows": 1}, DeleteBatchRequest(["a", "b"]), "2 rows of a batch"),
    ({"rows": 1}, AdminDeleteRequest("", ["a", "b"]), "2 rows of a batch"),
    ({"forks": 1}, ForkRequest("a", 2), "2 forks at once, the limit is 1"),
    ({"rewind_window": 1}, RestoreRequest("b", SNAPSHOT), "rewind_window: 2 steps"),
    (
        {"dreamt_steps": 5 * 4 * 3 * 2 * 2 - 1},
        PlanRequest("a", candidates=5, horizon=4, iterations=3, particles=2, action_repeat=2),
        "candidates 5 x iterations 3 x particles 2 x horizon 4 x action_repeat 2 is 240 dreamt",
    ),
    (
        {"dreamt_steps": 2 * 3 * 4 - 1},
        RolloutRequest(policy=LinearPolicy(np.ones((2, 3, 8))), episodes=3, max_steps=4),
        "policies 2 x episodes 3 x max_steps 4 is 24 dreamt steps, the limit is 23",
    ),
    (
        {"plan_steps": 11},
        PlanRequest("a", candidates=2, horizon=4, iterations=1, action_repeat=3),
        "horizon 4 x action_repeat 3 is a plan of 12 steps, the limit is 11",
    ),
    (
        {"rows": 5},
        PlanRequest("a", candidates=2, horizon=1, iterations=1, particles=3),
        "6 candidates x particles, the limit is 5",
    ),
    (
        {"job_bytes": 2000},
        PlanRequest("a", candidates=40, horizon=3, iterations=1),
        "candidates x horizon x particles would take .* bytes of memory, the limit is 2000",
    ),
    (
        {"job_bytes": 2000},
        RolloutRequest(policy="random", episodes=5, max_steps=20, include=["trajectories"]),
        "policies x episodes x max_steps would take .* bytes of memory, the limit is 2000",
    ),
    ({"job_bytes": 2000}, ResetBatchRequest(3), "3 rows would take 3120 bytes of memory"),
    ({"job_bytes": 2000}, DeleteBatchRequest(["x", "y"]), "2 rows would take 2048 bytes"),
    ({"rows": 2}, RolloutRequest(policy="random", episodes=3, max_steps=4), "3 episodes of a"),
]


@pytest.mark.parametrize(("bounds", "request_", "message"), OVER_THE_LIMITS)
def test_work_over_the_limits_is_refused_before_it_starts(
    ask: Ask, bounds: dict[str, float], request_: Request, message: str
) -> None:
    engine = Engine([fake_world()], limits=Limits(**bounds))
    ask(engine, ResetRequest(session_id="a", seed=1))
    with pytest.raises(TooLargeError, match=message):
        ask(engine, request_)
    assert engine.session_count == 1
    assert ask(engine, SessionRequest("a")).step == 0
    ((name, bound),) = bounds.items()
    enough = Engine([fake_world()], limits=Limits(**{name: 5 * bound + 2}))
    for session_id in "ab":
        ask(enough, ResetRequest(session_id=session_id, seed=1))
    ask(enough, request_)


def test_the_memory_that_clients_can_fill_adds_up() -> None:
    engine = Engine(
        [fake_world("one"), fake_world("other")],
        capacity=10,
        max_kept_bytes=100_000,
        max_plan_bytes=1000,
        limits=Limits(job_bytes=5000),
    )
    bounds = engine.usage.memory_bounds
    slabs = engine.table.numbered.values()
    assert [len(slab.step) for slab in slabs] == [10, 10]  # each has room for all
    assert bounds["sessions"] == engine.usage.memory_bytes == 2 * 10 * slab_bytes(fake_spec())
    assert bounds["last plans"] == 1000
    assert bounds["jobs"] == 2 * (64 * SMALL_BYTES + 5000)
    assert bounds["last results"] == 10 * answer_bytes(fake_spec())
    assert bounds["rewind windows"] == 100_000
    assert all(np.isfinite(size) and size > 0 for size in bounds.values())
    assert Engine([fake_world()]).usage.memory_bounds["jobs"] == np.inf


def test_the_memory_of_sessions_is_that_of_all_worlds_that_are_here(ask: Ask) -> None:
    now_s = [0.0]
    engine = Engine([fake_world("one")], capacity=10, clock=lambda: now_s[0])
    of_one = engine.usage.memory_bytes
    engine.served.add(fake_world("two"))
    assert engine.usage.memory_bytes == 2 * of_one
    ask(engine, ResetRequest("two", session_id="a", seed=1))
    engine.served.remove("two")
    assert engine.usage.memory_bytes == 2 * of_one  # it has a session
    ask(engine, DeleteRequest("a"))
    now_s[0] += 2.0
    ask(engine, WorldsRequest())
    assert engine.usage.memory_bytes == of_one


def test_a_last_result_with_everything_takes_no_more_than_its_bound(ask: Ask) -> None:
    engine = Engine([fake_world()])
    ask(engine, ResetRequest(session_id="a", seed=1))
    observed = np.zeros((8, 8, 3), np.uint8)
    ask(engine, StepRequest("a", 1, observation=observed, include=["frame", "mixture", "state"]))
    ((last, *_),) = next(iter(engine.table.numbered.values())).last_answers.values()
    arrays = [last.latent, last.frame, *last.mixture.values(), *last.state.values()]
    assert sum(array.nbytes for array in arrays) <= answer_bytes(fake_spec())
