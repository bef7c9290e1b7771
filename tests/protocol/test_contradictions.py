"""Messages with contradicting fields are refused with an explanation."""

import numpy as np
import pytest

from dreamserve_protocol.batches import (
    DeleteBatchRequest,
    ResetBatchRequest,
    RowError,
    StepBatchRequest,
)
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.common import LARGEST_INTEGER, Start
from dreamserve_protocol.errors import (
    InvalidRequestError,
    SessionNotFoundError,
    SnapshotRefusedError,
)
from dreamserve_protocol.plan import Objective
from dreamserve_protocol.policies import LinearPolicy, RandomPolicy, policy_count
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.rollout import RolloutRequest
from dreamserve_protocol.sample import SampleRequest
from dreamserve_protocol.sessions import FORMAT, FORMAT_VERSION, check_format
from dreamserve_protocol.step import StepRequest

START = Start(bank=0)
MANY = LinearPolicy(np.zeros((2, 3, 4)))
EPISODES = {"policy": "random", "max_steps": 3}
FRAME = np.zeros((1, 8, 8, 3), np.uint8)


def frames(count: int) -> np.ndarray:
    return np.repeat(FRAME, count, axis=0)


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (Start, {}, "give exactly one of bank, latent, frames"),
        (
            Start,
            {"bank": 1, "latent": [0.0]},
            "give exactly one of bank, latent, frames",
        ),
        (Start, {"bank": 1, "actions": [1]}, "actions go with frames"),
        (Start, {"frames": frames(0)}, "frames must hold at least one frame"),
        (Start, {"frames": frames(3)}, "3 frames need 2 actions between them, not 0"),
        (Start, {"frames": frames(1), "actions": [1]}, "1 frames need 0 actions"),
        (ResetBatchRequest, {}, "give exactly one of session_ids and count"),
        (ResetBatchRequest, {"count": 1, "session_ids": ["a"]}, "give exactly one of"),
        (
            ResetBatchRequest,
            {"count": 1, "bank": [0], "latents": [[0]]},
            "give one of bank, latents and age",
        ),
        (ResetBatchRequest, {"count": 1, "bank": [0], "age": "any"}, "give one of bank"),
        (ResetBatchRequest, {"count": 2, "seeds": [1]}, "seeds has 1 rows, the batch 2"),
        (ResetBatchRequest, {"count": 2, "bank": [1]}, "bank has 1 rows, the batch 2"),
        (ResetBatchRequest, {"count": 1, "latents": []}, "latents has 0 rows, the batch 1"),
        (
            ResetBatchRequest,
            {"session_ids": ["a"], "temperatures": [1, 1]},
            "temperatures has 2 rows, the batch 1",
        ),
        (StepBatchRequest, {"session_ids": ["a"], "actions": []}, "actions has 0 rows"),
        (
            StepBatchRequest,
            {"session_ids": ["a"], "actions": [1], "steps": [1, 2]},
            "steps has 2 rows, the batch 1",
        ),
        (ForkRequest, {"session_id": "a", "count": 1, "session_ids": ["b"]}, "not both"),
        (ForkRequest, {"session_id": "a", "count": 2, "seeds": [1]}, "2 forks need as many seeds"),
        (ForkRequest, {"session_id": "a", "session_ids": ["b", "b"]}, "session_ids must differ"),
        (ForkRequest, {"session_id": "a", "session_ids": ["a"]}, "cannot be forked into itself"),
        (RewindRequest, {"session_id": "a"}, "give exactly one of steps and to_step"),
        (RewindRequest, {"session_id": "a", "steps": 0, "to_step": 0}, "give exactly one of"),
        (Objective, {}, "the objective has no weight other than 0"),
        (Objective, {"target_weight": 3.0}, "the objective has no weight other than 0"),
        (
            Objective,
            {"target": np.zeros(4, np.float32), "target_weight": 0.0},
            "the objective has no weight other than 0",
        ),
        (
            Objective,
            {"target": np.zeros(2), "target_vector": np.zeros(3)},
            "give target or target_vector, not both",
        ),
        (
            LinearPolicy,
            {"weights": np.zeros((2, 3, 4)), "bias": np.zeros(3)},
            "need a bias of shape [2, 3], not [3]",
        ),
        (RolloutRequest, {**EPISODES}, "give exactly one of episodes and seeds"),
        (RolloutRequest, {**EPISODES, "episodes": 1, "seeds": [1]}, "give exactly one of"),
        (RolloutRequest, {**EPISODES, "seeds": [1], "seed": 1}, "give seed or seeds, not both"),
        (RolloutRequest, {**EPISODES, "seeds": []}, "seeds must hold at least one seed"),
        (RolloutRequest, {**EPISODES, "seeds": [-1]}, f"within 0 and {LARGEST_INTEGER}"),
        (RolloutRequest, {**EPISODES, "seeds": [LARGEST_INTEGER + 1]}, "seeds must be within 0"),
        (
            RolloutRequest,
            {**EPISODES, "episodes": 1, "session_id": "a", "world": "w"},
            "give session_id, or world and start, not both",
        ),
        (SampleRequest, {"futures": 1, "horizon": 1}, "give session_id, or start (and world)"),
        (
            SampleRequest,
            {"futures": 1, "horizon": 1, "session_id": "a", "start": START},
            "give session_id, or world and start, not both",
        ),
        (
            SampleRequest,
            {"futures": 1, "horizon": 1, "start": START, "actions": [1], "policy": "random"},
            "give actions or policy, not both",
        ),
        (
            SampleRequest,
            {"futures": 1, "horizon": 3, "start": START, "actions": [1]},
            "horizon 3 needs as many actions, not 1",
        ),
        (
            SampleRequest,
            {"futures": 1, "horizon": 1, "start": START, "policy": MANY},
            "give a single policy, not 2",
        ),
    ],
)
def test_a_contradiction_is_refused_on_construction(kind, fields, words):
    with pytest.raises(InvalidRequestError) as refused:
        kind(**fields)
    assert words in refused.value.detail


@pytest.mark.parametrize(
    "make",
    [
        lambda: Start(frames=frames(3), actions=[0, 1]),
        lambda: Start(frames=frames(1), actions=[]),
        lambda: ResetBatchRequest(2, seeds=[1, 2], latents=[[0], [1]]),
        lambda: ForkRequest("a", session_ids=["b", "c"], seeds=[1, 1]),
        lambda: Objective(target=[0.0]),
        lambda: LinearPolicy(np.zeros((2, 3, 4)), np.zeros((2, 3))),
        lambda: RolloutRequest("a", policy=MANY, max_steps=1, seeds=[0, LARGEST_INTEGER]),
        lambda: SampleRequest("a", futures=1, horizon=2, actions=[0, 1]),
        lambda: SampleRequest(futures=1, horizon=1, start=START, world="w", policy=RandomPolicy()),
    ],
)
def test_a_consistent_message_is_accepted(make):
    make()


@pytest.mark.parametrize(
    ("request_", "rows"),
    [
        (ResetBatchRequest(3), 3),
        (ResetBatchRequest(session_ids=["a", "b"]), 2),
        (ForkRequest("a"), 1),
        (ForkRequest("a", 4), 4),
        (ForkRequest("a", seeds=[1, 2]), 2),
        (ForkRequest("a", session_ids=["b"]), 1),
    ],
)
def test_a_request_knows_how_many_sessions_it_makes(request_, rows):
    assert request_.rows == rows


def test_a_request_knows_how_many_episodes_each_policy_has():
    assert RolloutRequest(**EPISODES, episodes=5).episode_count == 5
    assert RolloutRequest(**EPISODES, seeds=[1, 2]).episode_count == 2
    assert [policy_count(policy) for policy in (RandomPolicy(), MANY)] == [1, 2]


@pytest.mark.parametrize(
    ("request_", "may_be_resent"),
    [
        (ResetRequest(), True),
        (StepRequest("a", 1), False),
        (StepRequest("a", 1, step=3), True),
        (StepBatchRequest(["a"], [1]), False),
        (StepBatchRequest(["a"], [1], steps=[3]), True),
        (ForkRequest("a"), False),
        (ForkRequest("a", session_ids=["b"]), True),
        (RewindRequest("a", steps=1), False),
        (RewindRequest("a", to_step=0), True),
        (SampleRequest("a", futures=1, horizon=1), True),
    ],
)
def test_only_an_idempotent_request_may_be_resent(request_, may_be_resent):
    assert request_.may_be_resent() is may_be_resent


def test_a_snapshot_of_another_format_is_refused_with_its_name_cut_short():
    check_format(FORMAT, FORMAT_VERSION)
    for name, version in ((FORMAT, 2), ("x" * 1000, 1), (None, None)):
        with pytest.raises(SnapshotRefusedError, match=f"this server reads {FORMAT} 1, not") as e:
            check_format(name, version)
        assert len(e.value.detail) < 250


def test_a_rows_error_equals_the_error_of_the_single_request():
    error = RowError.of(3, SessionNotFoundError("no session s"))
    assert error == RowError(3, "session_not_found", 404, "no session s")


def test_lists_may_be_arrays() -> None:
    ids = np.array(["a", "b"])
    fork = ForkRequest("s", seeds=np.arange(3))
    assert (fork.seeds, fork.rows) == ([0, 1, 2], 3)
    assert ForkRequest("s", session_ids=ids).session_ids == ["a", "b"]
    assert ResetBatchRequest(session_ids=ids).session_ids == ["a", "b"]
    assert StepBatchRequest(ids, [1, 2]).session_ids == ["a", "b"]
    assert DeleteBatchRequest(ids).session_ids == ["a", "b"]


@pytest.mark.parametrize("seeds", [5, np.array(5), iter([1])])
def test_what_is_no_list_is_refused(seeds) -> None:
    with pytest.raises(InvalidRequestError, match="seeds must be a list"):
        ForkRequest("s", seeds=seeds)
