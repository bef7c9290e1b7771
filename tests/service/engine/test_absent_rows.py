"""Rows of /step/batch whose sessions are gone: each has its own error, whatever the worlds are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve_protocol.batches import ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.sessions import DeleteRequest
from dreamserve_protocol.step import StepRequest

Ask = Callable[[Engine, Request], Any]
BOX = np.array([[0.5, 0.5], [0.1, 0.2]])  # no actions of the default world, which is Discrete


def two_worlds(**options: Any) -> Engine:
    return Engine([fake_world(), fake_world("box", discrete=False)], **options)


def codes(answer: Any) -> dict[int, str]:
    return {error.row: error.code for error in answer.errors}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"steps": np.array([2, 2])},
        {"include": ["state", "frame", "signals"]},
        {"observations": np.zeros((2, 7))},
        {"include": ["vector"]},
    ],
    ids=["plain", "numbered", "all", "observed", "of_vectors"],
)
def test_a_batch_without_a_session_is_judged_by_no_world(ask: Ask, more: dict[str, Any]) -> None:
    engine = two_worlds()
    ask(engine, ResetBatchRequest(world="box", session_ids=["a", "b"]))
    for session_id in ("a", "b"):
        ask(engine, DeleteRequest(session_id))
    answer = ask(engine, StepBatchRequest(["a", "b"], BOX, **more))
    assert codes(answer) == {0: "session_not_found", 1: "session_not_found"}
    assert answer.steps.tolist() == [0, 0]
    assert len(answer.latents) == 2
    assert not answer.latents.any()


def test_so_is_a_batch_whose_sessions_have_expired(ask: Ask, clock: Any) -> None:
    engine = two_worlds(session_ttl_s=10, clock=clock)
    ask(engine, ResetBatchRequest(world="box", session_ids=["a", "b"]))
    clock.now_s += 11
    answer = ask(engine, StepBatchRequest(["a", "b"], BOX))
    assert codes(answer) == {0: "session_expired", 1: "session_expired"}


def test_what_no_world_is_needed_for_is_still_told(ask: Ask) -> None:
    answer = ask(two_worlds(), StepBatchRequest(["a", "a", "b"], [1, 1, 1], steps=[1, 1, 0]))
    assert codes(answer) == {0: "session_not_found", 1: "invalid_request", 2: "invalid_request"}


@pytest.mark.parametrize("absent", ["gone", "elsewhere"])
def test_a_row_of_no_session_of_the_world_has_the_error_of_that_not_of_its_action(
    ask: Ask, absent: str
) -> None:
    engine = two_worlds()
    ask(engine, ResetBatchRequest(session_ids=["a", "b"]))
    ask(engine, ResetBatchRequest(world="box", session_ids=["elsewhere"]))
    answer = ask(engine, StepBatchRequest(["a", absent, "b"], [1, 99, 99]))
    details = {error.row: error.detail for error in answer.errors}
    assert details.keys() == {1, 2}
    assert ("no session" if absent == "gone" else "this session is of box") in details[1]
    with pytest.raises(ProblemError, match="99") as refused:
        ask(engine, StepRequest("b", 99))
    assert details[2] == refused.value.detail


def test_a_session_that_begins_while_its_batch_looks_for_it_is_not_stepped() -> None:
    engine = two_worlds()
    ids = [f"s{i}" for i in range(1_000)]
    batch = engine.submit(StepBatchRequest(ids, np.zeros((1_000, 2))))
    engine.turn()
    assert not batch.done()
    begun = engine.submit(ResetBatchRequest(world="box", session_ids=ids[-1:]))
    for _ in range(20):
        engine.turn()
    assert not begun.result(0).errors
    assert set(codes(batch.result(0)).values()) == {"session_not_found"}
    assert len(codes(batch.result(0))) == 1_000
