"""Lists of sessions, the end of idle ones, and what a full server says."""

from collections.abc import Callable
from typing import Any

import pytest

from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.limits import Quota
from dreamserve.engine.sessions import listing
from dreamserve.validation import validated
from dreamserve_protocol.batches import ResetBatchRequest
from dreamserve_protocol.errors import InvalidRequestError, OverloadedError
from dreamserve_protocol.listing import (
    AdminDeleteRequest,
    AdminSessionsRequest,
    DeleteIdleRequest,
    SessionsRequest,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.sessions import SessionRequest
from dreamserve_protocol.step import StepRequest

Ask = Callable[..., Any]


@pytest.fixture
def engine(clock: Any) -> Engine:
    """Return an engine with room for 10 sessions in two worlds, which expire after 100 s."""
    worlds = [fake_world(), fake_world("box", discrete=False)]
    return Engine(worlds, capacity=10, session_ttl_s=100, clock=clock)


def ask(engine: Engine, request: Request[Any], owner: str = "") -> Any:
    future = engine.submit(validated(type(request), request), owner)
    for _ in range(1000):
        if future.done():
            break
        engine.turn()
    return future.result(0)


def begin(engine: Engine, owner: str, *ids: str, world: str = "fake") -> None:
    assert not ask(engine, ResetBatchRequest(world=world, session_ids=ids), owner).errors


def ids_of(result: Any) -> list[str]:
    return [summary.session_id for summary in result.sessions]


def test_a_list_has_an_owners_sessions_with_world_step_age_and_idle_time(
    engine: Engine, clock: Any
) -> None:
    begin(engine, "ann", "a")
    begin(engine, "ben", "a", "c")
    clock.now_s = 5
    ask(engine, StepRequest("a", 1), "ann")
    clock.now_s = 7
    listed = ask(engine, SessionsRequest(), "ann")
    (summary,) = listed.sessions
    assert (summary.session_id, summary.world, summary.step) == ("a", "fake", 1)
    assert (summary.age_s, summary.idle_s, summary.owner) == (7, 2, None)
    assert (listed.total, listed.quota, listed.next) == (1, None, None)
    engine.quotas = {"ann": Quota(sessions=3)}
    assert ask(engine, SessionsRequest(), "ann").quota == 3
    clock.now_s = 106  # a list renews no time to live
    assert ask(engine, SessionsRequest(), "ann").total == 0


def test_pages_hold_each_session_once_while_others_come_and_go(engine: Engine) -> None:
    begin(engine, "ann", "a", "b", "c", "d")
    begin(engine, "ben", "x")
    begin(engine, "ann", "e", "f", world="box")
    first = ask(engine, SessionsRequest(limit=2), "ann")
    begin(engine, "ann", "late")
    second = ask(engine, SessionsRequest(limit=3, after=first.next), "ann")
    third = ask(engine, SessionsRequest(limit=3, after=second.next), "ann")
    assert third.next is None
    names = ids_of(first) + ids_of(second) + ids_of(third)
    assert sorted(set(names) - {"late"}) == list("abcdef")
    assert len(names) == len(set(names))
    assert ask(engine, SessionsRequest(after=2**53 - 1), "ann").sessions == []


@pytest.mark.parametrize("to_world", ["box", "fake"])
def test_a_reset_between_two_pages_moves_no_session_to_another_page(
    engine: Engine, to_world: str
) -> None:
    begin(engine, "", "a", "b", "c", world="fake")
    begin(engine, "", "d", "e", "f", world="box")
    first = ask(engine, SessionsRequest(limit=3))
    for moved in (ids_of(first)[0], "d", "f"):
        ask(engine, ResetRequest(to_world, session_id=moved))
    begin(engine, "", "f", "e", world=to_world)
    rest = ask(engine, SessionsRequest(after=first.next))
    assert ids_of(first) + ids_of(rest) == list("abcdef")
    assert {one.world for one in rest.sessions} == {to_world}


def test_a_list_may_be_of_idle_sessions_only(engine: Engine, clock: Any) -> None:
    begin(engine, "", "a", "b")
    clock.now_s = 10
    ask(engine, StepRequest("b", 1))
    assert ids_of(ask(engine, SessionsRequest(idle_s=10))) == ["a"]
    assert ids_of(ask(engine, SessionsRequest(idle_s=10.5))) == []


def test_delete_idle_ends_the_idle_sessions_of_its_owner_only(
    engine: Engine, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "DELETED_AT_ONCE", 2)
    begin(engine, "ann", "a", "b", "c", "d", "e")
    begin(engine, "ben", "a")
    clock.now_s = 30
    ask(engine, StepRequest("c", 1), "ann")
    assert ask(engine, DeleteIdleRequest(30), "ann").deleted == 4
    assert ids_of(ask(engine, SessionsRequest(), "ann")) == ["c"]
    assert ask(engine, SessionRequest("a"), "ben").step == 0
    assert ask(engine, DeleteIdleRequest(0), "ann").deleted == 1
    assert engine.session_count == 1


def test_delete_idle_spares_a_session_that_is_used_while_it_works(
    engine: Engine, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "DELETED_AT_ONCE", 2)
    begin(engine, "", "a", "b", "c", "d")
    clock.now_s = 30
    working = engine.submit(DeleteIdleRequest(20))
    engine.turn()
    clock.now_s = 31
    ask(engine, StepRequest("d", 1))
    assert working.result(0).deleted == 3
    assert ids_of(ask(engine, SessionsRequest())) == ["d"]


def test_an_administrator_sees_everybodys_sessions(engine: Engine, clock: Any) -> None:
    begin(engine, "ann", "a")
    begin(engine, "ben", "a", "b")
    begin(engine, "", "c", world="box")
    clock.now_s = 4
    listed = ask(engine, AdminSessionsRequest(), "root")
    assert (listed.total, listed.capacity) == (4, 10)
    counts = [(summary.owner, summary.sessions) for summary in listed.owners]
    assert counts == [("ben", 2), ("ann", 1), ("", 1)]
    owners = [(summary.owner, summary.session_id) for summary in listed.sessions]
    assert owners == [("ann", "a"), ("ben", "a"), ("ben", "b"), ("", "c")]
    assert ids_of(ask(engine, AdminSessionsRequest(owner="ben", limit=1), "root")) == ["a"]
    assert ids_of(ask(engine, AdminSessionsRequest(owner="nobody"), "root")) == []


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"owner": "ann"}, ["ben/a", "ben/b", "ben/c"]),
        ({"owner": "ben", "session_ids": ["a", "c", "no"]}, ["ann/a", "ben/b"]),
        ({"owner": "ben", "session_ids": ["a", "c"], "idle_s": 10}, ["ann/a", "ben/b", "ben/c"]),
        ({"owner": "ben", "idle_s": 10}, ["ann/a", "ben/c"]),
        ({"idle_s": 10}, ["ben/c"]),
        ({"idle_s": 0}, []),
    ],
)
def test_an_administrator_ends_sessions_by_owner_id_and_idle_time(
    engine: Engine, clock: Any, fields: dict[str, Any], left: list[str]
) -> None:
    begin(engine, "ann", "a")
    begin(engine, "ben", "a", "b", "c")
    clock.now_s = 10
    ask(engine, StepRequest("c", 1), "ben")
    deleted = ask(engine, AdminDeleteRequest(**fields), "root").deleted
    listed = ask(engine, AdminSessionsRequest(), "root").sessions
    assert [f"{summary.owner}/{summary.session_id}" for summary in listed] == left
    assert deleted == 4 - len(left)


@pytest.mark.parametrize(
    "fields", [{}, {"session_ids": ["a"]}, {"session_ids": ["a"], "idle_s": 1}]
)
def test_an_administrators_delete_says_what_it_ends(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"owner"):
        AdminDeleteRequest(**fields)


def test_a_full_server_says_how_many_are_idle_and_when_the_next_may_expire(
    engine: Engine, clock: Any
) -> None:
    """Ten clients that died with all sessions used to be told: try again after one second."""
    begin(engine, "", *(f"s{i}" for i in range(10)))
    clock.now_s = 61
    for i in range(3):
        ask(engine, StepRequest(f"s{i}", 1))
    clock.now_s = 62
    with pytest.raises(OverloadedError, match=r"10 of 10 sessions are in use, 7 of them idle") as e:
        ask(engine, ResetRequest())
    assert e.value.retry_after_s == 100 - 62
    clock.now_s = 100.5
    assert ask(engine, ResetRequest()).step == 0


def test_a_quota_says_when_its_owners_next_session_may_expire(engine: Engine, clock: Any) -> None:
    engine.quotas = {"ann": Quota(sessions=1)}
    begin(engine, "ben", "a")
    clock.now_s = 20
    begin(engine, "ann", "a")
    clock.now_s = 30
    with pytest.raises(OverloadedError, match=r"1 of the 1 sessions of your quota") as refused:
        ask(engine, ResetRequest(), "ann")
    assert refused.value.retry_after_s == 90
