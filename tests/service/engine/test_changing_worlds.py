"""Worlds come and go while the engine runs; sessions stay on the world they began with."""

import numpy as np
import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.validation import validated
from dreamserve_protocol.batches import ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.common import Start
from dreamserve_protocol.errors import InvalidRequestError, WorldNotFoundError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import DeleteRequest, SessionRequest
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.worlds import WorldsRequest


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
