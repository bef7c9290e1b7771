"""`max_steps`: the step that reaches it is truncated, and the dream takes no more."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve_protocol.batches import ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.errors import DreamEndedError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import RestoreRequest, SessionRequest, SnapshotRequest
from dreamserve_protocol.step import StepRequest

Ask = Callable[[Engine, Request], Any]
Same = Callable[[Any, Any], bool]


@pytest.fixture
def engine(ask: Ask) -> Engine:
    """Return an engine with a dream `a` of at most two steps, which can be rewound."""
    engine = Engine([fake_world()])
    ask(engine, ResetRequest(session_id="a", seed=1, max_steps=2, rewind_window=3))
    return engine


def test_the_step_that_reaches_the_limit_is_truncated_and_the_last(
    engine: Engine, ask: Ask, same: Same
) -> None:
    assert not ask(engine, StepRequest("a", 1)).truncated
    last = ask(engine, StepRequest("a", 1, step=2))
    assert (last.truncated, last.terminated) == (True, False)
    assert same(ask(engine, StepRequest("a", 1, step=2)), last), "sent again, it is the same"
    for request in (StepRequest("a", 1), StepRequest("a", 1, step=3), PlanRequest("a", horizon=2)):
        with pytest.raises(DreamEndedError, match="ended at step 2"):
            ask(engine, request)
    described = ask(engine, SessionRequest("a"))
    assert (described.truncated, described.max_steps, described.step) == (True, 2, 2)


def test_an_observed_step_is_truncated_too(engine: Engine, ask: Ask, same: Same) -> None:
    request = StepRequest("a", 1, step=2, observation=np.zeros(4, np.float32), include=["state"])
    ask(engine, StepRequest("a", 1))
    last = ask(engine, request)
    assert last.truncated
    assert same(ask(engine, request), last)


def test_a_rewound_dream_goes_on_to_its_limit_again(engine: Engine, ask: Ask) -> None:
    last = [ask(engine, StepRequest("a", 1)) for _ in range(2)][-1]
    assert not ask(engine, RewindRequest("a", to_step=1)).truncated
    assert ask(engine, StepRequest("a", 1)).latent.tobytes() == last.latent.tobytes()
    assert ask(engine, RewindRequest("a", steps=0)).truncated


def test_forks_and_restored_snapshots_keep_the_limit(engine: Engine, ask: Ask, same: Same) -> None:
    ask(engine, StepRequest("a", 1))
    ask(engine, ForkRequest("a", session_ids=["fork"]))
    ask(engine, RestoreRequest("restored", ask(engine, SnapshotRequest("a"))))
    results = [ask(engine, StepRequest(name, 1)) for name in ("a", "fork", "restored")]
    assert [result.truncated for result in results] == [True] * 3
    snapshot = ask(engine, SnapshotRequest("a"))
    ask(engine, RestoreRequest("ended", snapshot))
    assert ask(engine, SessionRequest("ended")).truncated
    assert same(ask(engine, ForkRequest("ended", session_ids=["f"])).truncated, True)


def test_a_batch_has_one_limit_for_all_its_dreams(ask: Ask) -> None:
    engine = Engine([fake_world()])
    ids = ["a", "b", "c"]
    ask(engine, ResetBatchRequest(session_ids=ids, seeds=[1, 2, 3], max_steps=1))
    ask(engine, ResetRequest(session_id="b", seed=2))  # without a limit
    batch = ask(engine, StepBatchRequest(ids, [1, 1, 1]))
    assert batch.truncated.tolist() == [True, False, True]
    again = ask(engine, StepBatchRequest(ids, [1, 1, 1], steps=[1, 1, 1]))
    assert again.truncated.tolist() == [True, False, True]
    further = ask(engine, StepBatchRequest(ids, [1, 1, 1]))
    assert {error.row: error.code for error in further.errors} == dict.fromkeys(
        [0, 2], "dream_ended"
    )


def test_a_dream_without_a_limit_is_never_truncated(ask: Ask) -> None:
    engine = Engine([fake_world()])
    ask(engine, ResetRequest(session_id="a", seed=1, max_steps=1))
    ask(engine, StepRequest("a", 1))
    ask(engine, ResetRequest(session_id="a", seed=1))  # the slot's old limit is gone
    assert not any(ask(engine, StepRequest("a", 1)).truncated for _ in range(3))
    assert ask(engine, SessionRequest("a")).max_steps is None
