"""A server that starts again on its file knows the sessions of its last run before their use."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.limits import Quota
from dreamserve.store.base import Retention, StoreError
from dreamserve.store.sqlite import SqliteStore
from dreamserve_protocol.errors import OverloadedError, SessionNotFoundError
from dreamserve_protocol.listing import DeleteIdleRequest, SessionsRequest
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import DeleteRequest, SessionRequest
from dreamserve_protocol.step import StepRequest

from .durable import Replica

TTL_S = 100.0
Start = Callable[..., Replica]


@pytest.fixture
def now_s() -> list[float]:
    return [1000.0]


@pytest.fixture
def start(tmp_path: Path, now_s: list[float]) -> Iterator[Start]:
    """Return a function that starts the server again, and stops the one before."""
    running: list[Engine] = []

    def started(world: str = "fake", **options: Any) -> Replica:
        for engine in running:
            engine.stop()
        clock = lambda: now_s[0]  # noqa: E731 - short
        path, retention = str(tmp_path / "sessions.db"), Retention(TTL_S, TTL_S)
        clocks = {"clock": clock, "wall_clock": clock}
        store = SqliteStore(path, retention, 1.0, sync=False, **clocks)
        replica = Replica(store, fake_world(world), clock=clock, session_ttl_s=TTL_S, **options)
        running[:] = [replica.engine]
        return replica

    yield started
    for engine in running:
        engine.stop()


def ask(replica: Replica, request: Request[Any], owner: str = "ann") -> Any:
    return replica.finish(replica.engine.submit(request, owner))


def test_a_quota_counts_the_sessions_of_the_last_run(start):
    ask(start(), ResetRequest(session_id="a", seed=1))
    again = start()
    again.engine.quotas = {"ann": Quota(sessions=1)}
    with pytest.raises(OverloadedError, match="1 of the 1 sessions of your quota"):
        ask(again, ResetRequest(session_id="b", seed=1))
    assert ask(again, ResetRequest(session_id="a", seed=2)).step == 0
    assert ask(again, ResetRequest(session_id="b", seed=1), "ben").step == 0


def test_a_list_holds_the_sessions_of_the_last_run_and_all_can_be_ended(start, now_s):
    first = start()
    for owner, session_id in (("ann", "a"), ("ann", "b"), ("", "a:b")):
        ask(first, ResetRequest(session_id=session_id, seed=1), owner)
    ask(first, StepRequest("a", 1))
    now_s[0] += 5.0
    listed = ask(start(), SessionsRequest())
    steps = {one.session_id: (one.step, one.idle_s) for one in listed.sessions}
    assert steps == {"a": (1, 5.0), "b": (0, 5.0)}
    again = start()
    assert ask(again, DeleteIdleRequest(0.0)).deleted == 2
    with pytest.raises(SessionNotFoundError):
        ask(start(), SessionRequest("a"))
    assert ask(start(), SessionsRequest(), "").total == 1


def test_sessions_that_ended_or_expired_are_not_continued(start, now_s):
    first = start()
    for session_id in ("ended", "expired"):
        ask(first, ResetRequest(session_id=session_id, seed=1))
    ask(first, DeleteRequest("ended"))
    now_s[0] += TTL_S + 1.0
    ask(first, ResetRequest(session_id="live", seed=1))
    listed = ask(start(), SessionsRequest())
    assert [one.session_id for one in listed.sessions] == ["live"]


def test_the_sessions_that_were_used_last_are_continued_and_others_when_they_are_used(start, now_s):
    first = start()
    for session_id in "abc":
        now_s[0] += 1.0
        ask(first, ResetRequest(session_id=session_id, seed=1))
    small = start(capacity=2)
    assert {one.session_id for one in ask(small, SessionsRequest()).sessions} == {"b", "c"}
    now_s[0] += 61.0
    assert ask(small, StepRequest("a", 1)).step == 1  # in place of an idle copy
    assert ask(start(world="other"), SessionsRequest()).total == 0


def test_a_server_starts_although_its_sessions_cannot_be_read_yet(start, monkeypatch, caplog):
    ask(start(), ResetRequest(session_id="a", seed=1))

    def fail(store: SqliteStore, most: int) -> list[str]:
        raise StoreError("sqlite: database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteStore, "own_keys", fail)
        again = start()
    assert "are not listed until they are used: sqlite: database is locked" in caplog.text
    assert ask(again, SessionRequest("a")).step == 0


def worlds_of(replica: Replica) -> list[str]:
    return [world.name for world in replica.engine.served.here]


def test_a_world_that_is_loaded_late_stays_for_the_sessions_of_the_last_run(start, now_s):
    ask(start("late"), ResetRequest(session_id="a", seed=1))
    now_s[0] += 10.0
    again = start("first")
    again.engine.served.add(fake_world("late"))
    again.engine.served.remove("late")
    assert ask(again, StepRequest("a", 1)).step == 1
    ask(again, DeleteRequest("a"))
    now_s[0] += TTL_S - 9.0
    again.engine.table.refresh_now()
    assert worlds_of(again) == ["first"]


def test_after_more_sessions_than_fit_retired_worlds_stay_as_long_as_one_can(start, now_s):
    first = start("late")
    for session_id in "abc":
        ask(first, ResetRequest(session_id=session_id, seed=1))
    again = start("first", capacity=2)
    again.engine.served.add(fake_world("late"))
    again.engine.served.remove("late")
    assert ask(again, StepRequest("a", 1)).step == 1
    now_s[0] += TTL_S + 1.0
    again.engine.table.refresh_now()
    assert worlds_of(again) == ["first"]


def test_a_world_of_which_the_last_run_has_no_session_is_freed_at_once(start):
    ask(start("first"), ResetRequest(session_id="a", seed=1))
    again = start("first")
    again.engine.served.add(fake_world("late"))
    again.engine.served.remove("late")
    assert worlds_of(again) == ["first"]
