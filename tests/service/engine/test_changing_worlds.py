"""Worlds come and go while the engine runs; sessions stay on the world they began with."""

import gc
import weakref
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dreamserve.engine import served
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.imagination.latency import LatencyModel
from dreamserve.engine.scheduling.calibration import Calibration
from dreamserve.engine.world import World
from dreamserve.store.memory import MemoryStore
from dreamserve.validation import validated
from dreamserve_protocol.batches import ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import (
    InvalidRequestError,
    SnapshotRefusedError,
    WorldNotFoundError,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.worlds import WorldsRequest

from .durable import RETENTION, Replica


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock) -> Engine:
    return Engine([fake_world("first")], capacity=10, clock=clock)


def send(engine: Engine, request: Request):
    future = engine.submit(request)
    while not future.done():
        engine.turn()
    return future.result()


def version(number: str, name: str = "first", **fields: Any) -> World:
    """Return a world that tells a version, as one of a bundle does."""
    world = fake_world(name, **fields)
    world.manifest = SimpleNamespace(version=number)  # type: ignore[assignment]  # all that is read
    return world


def steps(engine: Engine, *session_ids: str) -> list[int]:
    """Step these sessions in one batch; return their steps."""
    batch = send(engine, StepBatchRequest(list(session_ids), np.ones(len(session_ids), np.int64)))
    assert not batch.errors
    return batch.steps.tolist()


def test_a_new_world_takes_new_sessions(engine):
    engine.served.add(fake_world("second"))
    assert [world.name for world in send(engine, WorldsRequest()).worlds] == ["first", "second"]
    assert send(engine, ResetRequest("second", session_id="a")).world == "second"
    assert send(engine, StepRequest("a", 1)).step == 1


def test_sessions_stay_on_the_version_they_began_with(engine):
    send(engine, ResetRequest(session_id="old", seed=1))
    engine.served.add(fake_world("first", nan_action=1))  # the new version fails at action 1
    send(engine, ResetRequest(session_id="new", seed=1))
    batch = send(engine, StepBatchRequest(["old"], np.array([1])))
    assert batch.steps.tolist() == [1]
    assert send(engine, StepRequest("old", 1)).step == 2
    mixed = send(engine, StepBatchRequest(["old", "new"], np.array([0, 0])))
    assert [error.row for error in mixed.errors] == [1]
    assert "this session is of" in mixed.errors[0].detail


def test_a_world_that_was_replaced_is_freed_with_its_last_session(engine, clock):
    send(engine, ResetRequest(session_id="old", seed=1))
    engine.served.add(fake_world("first"))
    assert len(engine.table.numbered) == 2
    send(engine, DeleteRequest("old"))
    clock.now_s += 2.0
    send(engine, WorldsRequest())
    assert list(engine.table.numbered) == [1]


def test_a_removed_world_serves_the_sessions_it_has(engine):
    engine.served.add(fake_world("second"))
    send(engine, ResetRequest("first", session_id="a", seed=1))
    engine.served.remove("first")
    assert send(engine, StepRequest("a", 1)).step == 1
    assert send(engine, SessionRequest("a")).world == "first"
    with pytest.raises(WorldNotFoundError, match="loaded: second"):
        send(engine, ResetRequest("first"))
    assert send(engine, ResetRequest()).world == "second"


@pytest.mark.parametrize(
    "request_",
    [
        ResetBatchRequest(count=600),
        ResetRequest(
            start=Start(frames=np.zeros((3, 8, 8, 3), np.uint8), actions=np.array([0, 1]))
        ),
    ],
    ids=["batch", "burn-in"],
)
def test_sessions_that_are_about_to_begin_begin_on_the_version_that_was_asked(request_):
    engine = Engine([fake_world("first")], capacity=1000)
    future = engine.submit(validated(type(request_), request_))
    engine.turn()
    assert not future.done()
    engine.served.add(fake_world("first"))
    while not future.done():
        engine.turn()
    made = future.result()
    ids = getattr(made, "session_ids", None) or [made.session_id]
    assert send(engine, StepRequest(ids[-1], 1)).step == 1
    assert len(engine.table.numbered) == 2


def test_the_only_world_and_an_unknown_one_cannot_be_removed(engine):
    with pytest.raises(InvalidRequestError, match="the only world"):
        engine.served.remove("first")
    with pytest.raises(WorldNotFoundError):
        engine.served.remove("third")


def test_loading_the_version_that_is_served_changes_nothing():
    engine = Engine([version("1")])
    (before,) = engine.worlds.values()
    send(engine, ResetRequest(session_id="old"))
    assert engine.served.add(version("1")) is before
    send(engine, ResetRequest(session_id="new"))
    assert steps(engine, "old", "new") == [1, 1]
    assert list(engine.table.numbered) == [0]


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_a_version_that_comes_back_continues_with_the_sessions_it_has(how):
    engine = Engine([version("1"), version("1", "other")])
    send(engine, ResetRequest("first", session_id="old"))
    if how == "replaced":
        engine.served.add(version("2"))
        send(engine, ResetRequest("first", session_id="between"))
    else:
        engine.served.remove("first")
    engine.served.add(version("1"))
    send(engine, ResetRequest("first", session_id="new"))
    assert steps(engine, "old", "new") == [1, 1]
    send(engine, DeleteRequest("old"))
    send(engine, DeleteRequest("new"))
    assert send(engine, ResetRequest("first", session_id="later")).step == 0


def test_a_session_that_begins_late_joins_those_of_its_version_loaded_meanwhile():
    engine = Engine([version("1")])
    start = Start(frames=np.zeros((3, 8, 8, 3), np.uint8), actions=np.array([0, 1]))
    future = engine.submit(validated(ResetRequest, ResetRequest(session_id="late", start=start)))
    engine.turn()
    assert not future.done()
    engine.served.add(version("2"))
    engine.served.add(version("1"))  # another object: the first one was freed
    while not future.done():
        engine.turn()
    send(engine, ResetRequest(session_id="new"))
    assert steps(engine, "late", "new") == [1, 1]


def test_long_work_is_cut_for_the_slowest_world_that_is_here(monkeypatch):
    def measured(world: World, *_: Any) -> Calibration:
        rows = 4 if world.name == "slow" else 100
        return Calibration(rows, rows, LatencyModel({1: 1.0 / rows}))

    monkeypatch.setattr(served, "calibrate", measured)
    engine = Engine([fake_world("first")])
    engine.warm()
    send(engine, ResetRequest(session_id="a"))
    sizes = [(engine._contexts[""].slice_rows, engine.served.inline_rows)]
    engine.served.add(fake_world("slow"))
    sizes.append((engine._contexts[""].slice_rows, engine.served.inline_rows))
    engine.served.remove("slow")
    engine.served.add(fake_world("third"))
    sizes.append((engine._contexts[""].slice_rows, engine.served.inline_rows))
    assert sizes == [(100, 100), (4, 4), (100, 100)]


def test_a_version_keeps_its_own_latencies_beside_its_successor(monkeypatch):
    took_s = iter([1.0, 2.0])
    monkeypatch.setattr(
        served, "calibrate", lambda *_: Calibration(1, 1, LatencyModel({1: next(took_s)}))
    )
    engine = Engine([fake_world("first")])
    engine.warm()
    send(engine, ResetRequest(session_id="a"))
    engine.served.add(fake_world("first"))
    latencies = engine._contexts[""].latencies
    assert [latencies[slab.world].took_s[1] for slab in engine.table.numbered.values()] == [1, 2]


def test_a_session_of_a_retired_version_takes_its_own_snapshot_back():
    engine = Engine([version("1")])
    send(engine, ResetRequest(session_id="old", seed=1))
    snapshot = send(engine, SnapshotRequest("old"))
    engine.served.add(version("2"))
    assert steps(engine, "old") == [1]
    restored = send(engine, RestoreRequest("old", snapshot))
    assert (restored.step, restored.world_version) == (0, "1")
    with pytest.raises(SnapshotRefusedError, match="loaded here is first 2"):
        send(engine, RestoreRequest("new", snapshot))


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "store"])
def test_nothing_holds_a_world_that_was_freed(clock, stored):
    if stored:
        replica = Replica(MemoryStore(RETENTION, clock), fake_world("first"), clock=clock)
        engine, ask = replica.engine, replica.send
    else:
        engine = Engine([fake_world("first")], clock=clock)
        ask = partial(send, engine)
    engine.warm()
    (before,) = map(weakref.ref, engine.worlds.values())
    ask(ResetRequest(session_id="a", seed=1))
    engine.served.add(fake_world("first"))
    for request in (StepRequest("a", 1), PlanRequest("a", horizon=2, candidates=4)):
        ask(request)
    ask(DeleteRequest("a"))
    clock.now_s += 2.0
    ask(WorldsRequest())
    gc.collect()
    assert before() is None
    engine.stop()
