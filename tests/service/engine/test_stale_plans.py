"""A plan that ends after its dream is not the last plan of the dream that has taken its place."""

from typing import Any

import numpy as np
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.validation import validated
from dreamserve_protocol.batches import ResetBatchRequest
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    Snapshot,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest

INTERRUPTIONS = {
    "reset with the same seed": [ResetRequest(session_id="a", seed=4)],
    "reset/batch": [ResetBatchRequest(session_ids=["a"], seeds=np.array([4]))],
    "ended and begun again": [DeleteRequest("a"), ResetRequest(session_id="a", seed=4)],
    "restored": [SnapshotRequest("a")],
    "replaced by a fork": [ResetRequest(session_id="b"), ForkRequest("b", session_ids=["a"])],
    "rewound": [RewindRequest("a", steps=1)],
}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_a_plan_during_which_the_dream_begins_anew_is_not_kept(interruption: str) -> None:
    engine = Engine([fake_world()])

    def answer(request: Any) -> Any:
        future = engine.submit(validated(type(request), request))
        while not future.done():
            engine.turn()
        return future.result(0)

    answer(ResetRequest(session_id="a", seed=4, rewind_window=3))
    for _ in range(2):
        answer(StepRequest("a", 1))
    late = engine.submit(PlanRequest("a", horizon=6, candidates=5, iterations=9))
    engine.turn()
    for request in INTERRUPTIONS[interruption]:
        told = answer(request)
        if isinstance(told, Snapshot):
            answer(RestoreRequest("a", told))
    assert not late.done()
    while not late.done():
        engine.turn()
    (slab,) = engine.table.numbered.values()
    assert not slab.last_plans
