"""A server that has hung runs no request that replaces or ends a session and may be an old one."""

from collections.abc import Callable

import pytest

from dreamserve.engine.durability.stalls import AFTER_S, BEAT_S, STALL_S, Stalls
from dreamserve.store.memory import MemoryStore
from dreamserve.validation import validated
from dreamserve_protocol.batches import DeleteBatchRequest, ResetBatchRequest
from dreamserve_protocol.branches import ForkRequest
from dreamserve_protocol.errors import NotReadyError
from dreamserve_protocol.listing import AdminDeleteRequest, DeleteIdleRequest
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest

from .durable import RETENTION, Replica


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Hanging:
    """Two replicas; the first one hangs, while the second one serves its session a."""

    def __init__(self) -> None:
        shared, self.clock = MemoryStore(RETENTION), Clock()
        self.stalls = Stalls(self.clock)
        self.stalls.start()
        self.first, self.second = Replica(shared, stalls=self.stalls), Replica(shared)
        self.first.send(ResetRequest(session_id="a", seed=1))
        self.first.send(ResetRequest(session_id="other", seed=1))
        self.snapshot = self.first.send(SnapshotRequest("a"))

    def go_on_elsewhere(self) -> None:
        """Let the first replica hang, and the second one begin session a again."""
        self.clock.now_s += STALL_S + BEAT_S
        self.second.send(ResetRequest(session_id="a", seed=2))
        for step in (1, 2, 3):
            self.second.send(StepRequest("a", 1, step=step))

    def step_of_a(self) -> int:
        return self.second.send(SessionRequest("a")).step


LATE: dict[str, Callable[[Hanging], Request]] = {
    "reset": lambda hanging: ResetRequest(session_id="a", seed=2),
    "reset_batch": lambda hanging: ResetBatchRequest(session_ids=["a"]),
    "restore": lambda hanging: RestoreRequest("a", hanging.snapshot),
    "fork": lambda hanging: ForkRequest("other", session_ids=["a"]),
    "delete": lambda hanging: DeleteRequest("a"),
    "delete_batch": lambda hanging: DeleteBatchRequest(["a"]),
    "delete_idle": lambda hanging: DeleteIdleRequest(0.0),
    "admin_delete": lambda hanging: AdminDeleteRequest(owner="", session_ids=["a"]),
}
each = pytest.mark.parametrize("choose", LATE.values(), ids=LATE.keys())


@each
def test_what_replaces_or_ends_is_refused_just_after_the_server_has_hung(choose) -> None:
    hanging = Hanging()
    late = choose(hanging)
    hanging.go_on_elsewhere()
    with pytest.raises(NotReadyError, match="has just hung"):  # read before the event loop beats
        hanging.first.send(late)
    hanging.stalls.beat()
    with pytest.raises(NotReadyError, match="has just hung"):
        hanging.first.send(late)
    assert hanging.step_of_a() == 3


@each
@pytest.mark.parametrize("is_told", [False, True])
def test_what_was_queued_when_the_server_hung_does_not_run(choose, is_told: bool) -> None:
    hanging = Hanging()
    waiting = hanging.first.submit(choose(hanging))
    hanging.go_on_elsewhere()
    if is_told:
        hanging.stalls.beat()
    with pytest.raises(NotReadyError):
        hanging.first.finish(waiting)
    assert hanging.step_of_a() == 3


def test_a_reset_whose_commit_is_refused_after_a_stall_is_not_run_again() -> None:
    hanging = Hanging()
    committer = hanging.first.engine.gate.committer
    commit = committer.commit

    def hang(uses) -> None:  # between the turn and its commit
        committer.commit = commit
        hanging.go_on_elsewhere()
        commit(uses)

    committer.commit = hang
    with pytest.raises(NotReadyError):
        hanging.first.send(ResetRequest(session_id="a", seed=3))
    assert hanging.step_of_a() == 3


def test_other_requests_go_on_after_a_stall() -> None:
    hanging = Hanging()
    waiting = hanging.first.submit(StepRequest("a", 1, step=4))
    hanging.go_on_elsewhere()
    hanging.stalls.beat()
    assert hanging.first.finish(waiting).step == 4
    assert hanging.first.send(SessionRequest("a")).step == 4


def test_a_while_after_a_stall_everything_runs_again() -> None:
    hanging = Hanging()
    hanging.go_on_elsewhere()
    hanging.stalls.beat()
    hanging.clock.now_s += AFTER_S
    hanging.stalls.beat()
    assert hanging.first.send(ResetRequest(session_id="a", seed=2)).step == 0
    hanging.first.send(DeleteRequest("a"))


def test_a_late_beat_is_no_stall() -> None:
    hanging = Hanging()
    hanging.clock.now_s += STALL_S
    hanging.stalls.beat()
    hanging.first.send(DeleteRequest("a"))
    assert hanging.stalls.count == 0


def test_an_engine_without_beats_never_hangs() -> None:
    clock = Clock()
    replica = Replica(MemoryStore(RETENTION), stalls=Stalls(clock))
    clock.now_s += 1e6
    replica.send(validated(ResetRequest, {"session_id": "a"}))
    replica.send(DeleteRequest("a"))
