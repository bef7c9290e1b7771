"""A row of a batch that fails holds zeros in every column, and leaves its session unchanged."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.fake import KINDS, FakeBackend
from dreamserve.engine.engine import Engine
from dreamserve.engine.failed_rows import blanked
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.store.memory import MemoryStore
from dreamserve.validation import validated
from dreamserve_protocol.batches import (
    FinalRows,
    ResetBatchRequest,
    ResetBatchResult,
    StepBatchRequest,
    StepBatchResult,
)
from dreamserve_protocol.sessions import SessionRequest
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.wire import fields_of

from .durable import RETENTION, Replica


def columns(result: Any) -> dict[str, np.ndarray]:
    """Return all columns of a result, by the paths of their fields."""
    found = {}
    for name, value in fields_of(result).items():
        parts = {name: value}
        if isinstance(value, dict):
            parts = {f"{name}.{part}": column for part, column in value.items()}
        found |= {path: one for path, one in parts.items() if isinstance(one, np.ndarray)}
    return found


def filled(kind: Any, rows: int) -> Any:
    """Return a result in which every field is a column of ones, or a dict of one."""
    given: dict[str, Any] = {name: np.ones((rows, 2)) for name in kind.__dataclass_fields__}
    given |= {name: {"x": np.ones(rows)} for name in ("state", "signals") if name in given}
    given |= {"session_ids": list("abc"), "errors": [], "world": "fake"}
    return kind(**{name: given[name] for name in kind.__dataclass_fields__})


@pytest.mark.parametrize("kind", [StepBatchResult, ResetBatchResult])
def test_every_column_there_is_gets_zeros(kind: Any) -> None:
    result = filled(kind, 3)
    if kind is StepBatchResult:
        ends = {**fields_of(filled(FinalRows, 2)), "rows": np.array([0, 1])}
        result = replace(result, final=FinalRows(**ends))
    blank = blanked(result, [1])
    assert len(columns(blank)) >= 5
    for name, column in columns(blank).items():
        assert not column[1].any(), name
        assert column[[0, 2]].all(), name
    if kind is StepBatchResult:
        assert {len(column) for column in columns(blank.final).values()} == {1}
        assert blanked(blank, [0]).final is None


def test_a_row_whose_session_was_taken_over_elsewhere_holds_zeros() -> None:
    store, world = MemoryStore(RETENTION), fake_world(**KINDS["signals"])
    here, elsewhere = Replica(store, world), Replica(store, world)
    here.send(ResetBatchRequest(session_ids=["a", "b"], seeds=np.array([1, 2])))
    elsewhere.send(StepRequest("a", 1))
    include = ["signals", "state", "frame"]
    result = here.send(StepBatchRequest(["a", "b"], np.array([1, 1]), include=include))
    assert [error.code for error in result.errors] == ["session_moved"]
    assert {"signals.value", "signals.uncertainty", "state.memory"} <= set(columns(result))
    for name, column in columns(result).items():
        assert not column[0].any(), name
    assert result.signals["value"][1]


class Undecodable(FakeBackend):
    """Shows no latent whose first number is below zero."""

    def decode(self, latent: Any) -> Any:
        decoded = super().decode(latent)
        decoded[latent[:, 0] < 0] = np.nan
        return decoded


def test_a_dream_whose_frame_is_not_finite_begins_in_no_session() -> None:
    spec = fake_world().spec
    engine = Engine([World(spec, Undecodable(spec))])

    def ask(request: Any) -> Any:
        future = engine.submit(validated(type(request), request))
        while not future.done():
            engine.turn()
        return future.result(0)

    ids, good = ["a", "b", "c"], np.full((3, 4), 0.5, np.float32)
    ask(ResetBatchRequest(session_ids=ids[:2], latents=good[:2], seeds=np.array([1, 2])))
    ask(StepRequest("b", 1))
    bad = good * np.array([[1], [-1], [-1]], np.float32)
    result = ask(ResetBatchRequest(session_ids=ids, latents=bad, include=["frame"]))
    assert [(error.row, error.code) for error in result.errors] == [
        (1, "dream_not_finite"),
        (2, "dream_not_finite"),
    ]
    for name, column in columns(result).items():
        assert not column[1:].any(), name
    assert ask(SessionRequest("b")).step == 1
    assert len(engine.table) == 2
