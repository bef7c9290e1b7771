"""Which requests are retried, after how long, and which never."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

import dreamserve_client as sdk
from dreamserve_client.exchange import MOST_ROUTES
from dreamserve_client.retries import FIRST_WAIT_S, RetryPolicy

TRANSIENT = [429, 502, 503, 504]


@pytest.mark.parametrize("status", TRANSIENT)
def test_a_temporary_error_is_retried_after_a_wait(fake, waits, status):
    server = fake(fake.problem(status, "trouble"), fake.ok(fake.RESET))
    assert server.client().reset().step == 0
    assert len(server.requests) == 2
    assert len(waits) == 1


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("no"), httpx.ReadError("cut"), httpx.ReadTimeout("late")]
)
def test_a_lost_response_is_retried_with_the_same_bytes(fake, waits, error):
    server = fake(error, fake.ok(fake.RESET))
    server.client().reset()
    first, second = server.requests
    assert first.content == second.content
    assert first.headers["x-session-id"] == second.headers["x-session-id"]


def test_after_three_retries_the_error_is_raised(fake, waits):
    server = fake(fake.problem(503, "draining"))
    with pytest.raises(sdk.DrainingError):
        server.client().reset(session_id="mine")
    assert len(server.requests) == 4


@pytest.mark.parametrize("call", ["reset", "reset_batch", "restore"])
def test_a_new_session_of_no_chosen_id_leaves_a_draining_server(fake, waits, call):
    results = {"reset": fake.RESET, "reset_batch": fake.RESET_BATCH, "restore": fake.SESSION}
    server = fake(*[fake.problem(503, "draining")] * 6, fake.ok(results[call]))
    client = server.client()
    if call == "restore":
        client.restore({"format": "dreamserve-snapshot"})
    else:
        getattr(client, call)(*[2] * (call == "reset_batch"))
    asked = [request.headers["x-session-id"].split("--")[0] for request in server.requests]
    assert len(set(asked)) == 7  # a route of its own for each attempt
    assert len(waits) == 6
    assert max(waits) <= FIRST_WAIT_S


@pytest.mark.parametrize("refusal", ["request", "row"])
def test_dreams_of_no_chosen_ids_leave_a_draining_server(fake, waits, refusal):
    row = fake.ok(fake.RESET_BATCH, errors=[fake.row_error(1, 503, "draining")])
    refused = fake.problem(503, "draining") if refusal == "request" else row
    server = fake(refused, refused, fake.ok(fake.RESET_BATCH), fake.ok(fake.STEP_BATCH))
    dreams = server.client().dreams(2)
    dreams.step([1, 1])
    asked = [request.headers["x-session-route"] for request in server.requests]
    assert len(set(asked[:3])) == 3
    assert asked[2] == asked[3]
    assert server.body()["session_ids"] == dreams.session_ids == server.body(2)["session_ids"]


def test_later_resets_of_all_dreams_leave_a_draining_server(fake, waits):
    begun, refused = fake.ok(fake.RESET_BATCH), fake.problem(503, "draining")
    server = fake(begun, refused, begun, begun, fake.ok(fake.STEP_BATCH))
    dreams = server.client().dreams(2)
    before = dreams.session_ids
    dreams.reset()
    assert dreams.session_ids != before
    dreams.reset([0, 1])
    assert server.body(3)["session_ids"] == dreams.session_ids == server.body(2)["session_ids"]


@pytest.mark.parametrize("named", [{"session_ids": ["s1", "s2"]}, {"count": 2}])
def test_dreams_of_chosen_ids_or_routes_stay(fake, waits, named):
    refused = fake.problem(503, "draining")
    server = fake(refused, fake.ok(fake.RESET_BATCH), refused, fake.ok(fake.RESET_BATCH))
    dreams = server.client(route="fleet" if "count" in named else None).dreams(**named)
    dreams.reset()
    ids = {tuple(server.body(i)["session_ids"]) for i in range(4)}
    assert ids == {tuple(dreams.session_ids)}


@pytest.mark.parametrize("is_async", [False, True])
def test_rows_of_a_delete_that_the_server_could_not_do_are_sent_again(fake, waits, is_async):
    ids = ["s1", "s2", "s3"]
    moved, gone = fake.row_error(1, 503, "session_moved"), (404, "session_not_found")
    first = fake.ok({}, session_ids=ids, errors=[fake.row_error(0, *gone), moved])
    # the first session never was there, the third one was ended by the first attempt
    second = fake.ok({}, session_ids=ids, errors=[fake.row_error(row, *gone) for row in (0, 2)])
    server = fake(first, second)
    if is_async:
        result = asyncio.run(server.async_client().delete_batch(ids))
    else:
        result = server.client().delete_batch(ids)
    assert [(error.row, error.code) for error in result.errors] == [(0, "session_not_found")]
    assert len(server.requests) == 2
    assert len(waits) == 1


def test_rows_of_a_delete_fail_after_three_retries(fake, waits):
    moved = [fake.row_error(0, 503, "session_moved")]
    server = fake(fake.ok({}, session_ids=["s1"], errors=moved))
    result = server.client().delete_batch(["s1"])
    assert [error.code for error in result.errors] == ["session_moved"]
    assert len(server.requests) == 4


def test_all_servers_may_drain(fake, waits):
    server = fake(fake.problem(503, "draining"))
    with pytest.raises(sdk.DrainingError):
        server.client().reset()
    assert len(server.requests) == 4 + MOST_ROUTES
    with pytest.raises(sdk.DrainingError):
        server.client(max_retries=0).reset()
    assert len(server.requests) == 4 + MOST_ROUTES + 1


@pytest.mark.parametrize("options", [{"route": "fleet"}, {}])
def test_a_chosen_route_is_kept_while_its_server_drains(fake, waits, options):
    server = fake(fake.problem(503, "draining"), fake.ok(fake.RESET))
    server.client(**options).reset(**({} if options else {"session_id": "fleet--1"}))
    asked = [request.headers["x-session-id"] for request in server.requests]
    assert asked[0] == asked[1]
    assert asked[0].startswith("fleet--")


def test_every_attempt_has_the_clients_timeout(fake, waits):
    server = fake(httpx.ReadError("cut"), fake.ok(fake.RESET))
    server.client(timeout_s=2.5).reset()
    bounds = dict.fromkeys(("connect", "read", "write", "pool"), 2.5)
    assert [request.extensions["timeout"] for request in server.requests] == [bounds, bounds]


def test_the_number_of_retries_is_configurable(fake, waits):
    server = fake(httpx.ConnectError("no"))
    with pytest.raises(sdk.APIConnectionError):
        server.client(max_retries=5).worlds()
    assert len(server.requests) == 6
    with pytest.raises(ValueError, match="max_retries must be 0 or more"):
        server.client(max_retries=-1)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (409, "step_conflict"),
        (409, "dream_ended"),
        (422, "invalid_request"),
        (404, "session_not_found"),
        (500, "x"),
    ],
)
def test_a_final_error_is_not_retried(fake, waits, status, code):
    server = fake(fake.problem(status, code))
    with pytest.raises(sdk.ProblemError):
        server.client().reset()
    assert len(server.requests) == 1
    assert not waits


def test_a_step_whose_number_is_unknown_is_sent_once(fake, waits):
    server = fake(httpx.ReadError("cut"))
    with pytest.raises(sdk.APIConnectionError):
        server.client().step("s1", 1)
    assert len(server.requests) == 1


def test_a_step_after_a_reset_carries_its_number_and_may_be_sent_again(fake, waits):
    server = fake(
        fake.ok(fake.RESET),
        httpx.ReadError("cut"),
        fake.ok(fake.STEP),
        fake.ok(fake.STEP, step=2),
    )
    client = server.client()
    client.reset(session_id="s1")
    client.step("s1", 1)
    client.step("s1", 0)
    assert [server.body(i).get("step") for i in range(4)] == [None, 1, 1, 2]


def test_a_step_that_failed_for_good_keeps_its_number(fake, waits):
    server = fake(fake.ok(fake.RESET), httpx.ReadError("cut"))
    client = server.client(max_retries=0)
    client.reset(session_id="s1")
    for _ in range(2):
        with pytest.raises(sdk.APIConnectionError):
            client.step("s1", 1)
    assert [server.body(i)["step"] for i in (1, 2)] == [1, 1]


def test_a_number_that_the_caller_gives_is_sent_as_it_is(fake, waits):
    server = fake(fake.ok(fake.RESET), httpx.ReadError("cut"), fake.ok(fake.STEP, step=9))
    client = server.client()
    client.reset(session_id="s1")
    client.step("s1", 1, step=9)
    assert [server.body(i)["step"] for i in (1, 2)] == [9, 9]


def test_getting_a_session_makes_its_next_steps_numbered(fake, waits):
    server = fake(fake.ok(fake.SESSION), fake.ok(fake.STEP, step=5))
    client = server.client()
    client.session("s1")
    client.step("s1", 1)
    assert server.body()["step"] == 5


def test_a_session_that_was_deleted_is_no_longer_counted(fake, waits):
    server = fake(fake.ok(fake.RESET), fake.ok(fake.STEP))
    client = server.client()
    client.reset(session_id="s1")
    client.step("s1", 1)
    client.delete("s1")
    client.step("s1", 1)
    assert "step" not in server.body()


GONE = ("session_not_found", "world_not_found")
DELETES = [
    (lambda client: client.delete("s1"), GONE[0]),
    (lambda client: client.admin_unload("pong"), GONE[1]),
]


@pytest.mark.parametrize(("send", "code"), DELETES)
@pytest.mark.parametrize("lost", [httpx.ReadError("cut"), httpx.ReadTimeout("late"), 502, 503, 504])
def test_a_delete_whose_response_was_lost_has_done_its_work(fake, waits, send, code, lost):
    first = fake.problem(lost, "store_unavailable") if isinstance(lost, int) else lost
    server = fake(first, fake.problem(404, code))
    assert send(server.client()) is None
    assert len(server.requests) == 2


def test_the_async_client_knows_that_a_delete_has_done_its_work_too(fake, waits):
    server = fake(httpx.ReadError("cut"), fake.problem(404, GONE[0]))

    async def delete():
        async with server.async_client() as client:
            return await client.delete("s1")

    assert asyncio.run(delete()) is None
    assert len(server.requests) == 2


@pytest.mark.parametrize(("send", "code"), DELETES)
@pytest.mark.parametrize("before", [(), (503,), (429,), (httpx.ConnectTimeout("far"),)])
def test_a_delete_that_no_earlier_attempt_can_have_done_finds_nothing(
    fake, waits, send, code, before
):
    outcomes = [fake.problem(one, "x") if isinstance(one, int) else one for one in before]
    server = fake(*outcomes, fake.problem(404, code))
    with pytest.raises(sdk.ProblemError) as raised:
        send(server.client())
    assert raised.value.code == code
    assert len(server.requests) == 1 + len(before)


def test_a_delete_whose_response_was_lost_may_still_be_refused(fake, waits):
    server = fake(httpx.ReadError("cut"), fake.problem(403, "forbidden"))
    with pytest.raises(sdk.ProblemError):
        server.client().delete("s1")


def test_rows_that_a_lost_delete_has_ended_are_no_errors(fake, waits):
    rows = [(0, 404, GONE[0]), (1, 410, "session_lost")]
    fields = {"session_ids": [], "errors": [fake.row_error(*row) for row in rows]}
    server = fake(httpx.ReadError("cut"), fake.ok(fields))
    client = server.client()
    ended, again = (client.delete_batch(["s1", "s2"]) for _ in range(2))
    assert [error.row for error in ended.errors] == [1]
    assert [error.row for error in again.errors] == [0, 1]


def test_a_rewind_by_steps_is_sent_as_the_step_that_it_leads_to_and_may_be_sent_again(fake, waits):
    ended = fake.ok(fake.STEP, step=4, terminated=True)
    server = fake(ended, httpx.ReadError("cut"), fake.ok(fake.REWIND), fake.ok(fake.STEP, step=2))
    client = server.client()
    client.step("s1", 1, step=4)
    client.rewind("s1", steps=3)
    client.step("s1", 1)
    assert [server.body(i) for i in (1, 2)] == [{"to_step": 1}] * 2
    assert server.body()["step"] == 2


def test_a_rewind_by_all_the_steps_seen_leads_to_step_0(fake):
    server = fake(fake.ok(fake.STEP, step=4), fake.ok(fake.REWIND, step=0))
    client = server.client()
    client.step("s1", 1, step=4)
    client.rewind("s1", steps=4)
    assert server.body() == {"to_step": 0}


def test_a_rewind_by_steps_of_an_unknown_session_is_sent_once_as_it_is(fake, waits):
    server = fake(httpx.ReadError("cut"))
    with pytest.raises(sdk.APIConnectionError):
        server.client().rewind("s1", steps=3)
    assert server.body() == {"steps": 3}
    assert len(server.requests) == 1


def test_a_rewind_beyond_the_start_is_refused_by_the_server(fake):
    server = fake(fake.ok(fake.STEP), fake.problem(409, "step_conflict"))
    client = server.client()
    client.step("s1", 1)
    with pytest.raises(sdk.StepConflictError):
        client.rewind("s1", steps=2)
    assert server.body() == {"steps": 2}


def test_forks_and_restored_sessions_are_counted_from_where_they_begin(fake):
    step = fake.ok(fake.STEP)
    server = fake(fake.ok(fake.FORK), step, fake.ok(fake.SESSION), step)
    client = server.client()
    client.fork("s1", session_ids=["f1", "f2"])
    client.step("f2", 1)
    assert server.body()["step"] == 4
    client.restore({"format": "x"}, "s1")
    client.step("s1", 1)
    assert server.body()["step"] == 5


def test_the_least_recently_used_sessions_are_forgotten_beyond_the_bound(fake, monkeypatch):
    monkeypatch.setattr("dreamserve_client.step_numbers.MOST_SESSIONS", 2)
    server = fake(*[fake.ok(fake.RESET)] * 4, fake.ok(fake.STEP))
    client = server.client()
    for name in "abac":
        client.reset(session_id=name)
    numbered = []
    for name in "acb":
        client.step(name, 1, step=None)
        numbered.append("step" in server.body())
    assert numbered == [True, True, False]


def test_the_first_wait_is_short_and_later_ones_double_up_to_eight_seconds(waits, monkeypatch):
    policy = RetryPolicy(max_retries=10)
    error = sdk.APIConnectionError("no")
    monkeypatch.setattr("dreamserve_client.retries.random", lambda: 0.0)
    longest = [policy.wait_s(error, attempt, True) for attempt in range(7)]
    monkeypatch.setattr("dreamserve_client.retries.random", lambda: 1.0)
    shortest = [policy.wait_s(error, attempt, True) for attempt in range(7)]
    assert longest == [0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert shortest == [0.1 * 0.75, 0.375, 0.75, 1.5, 3.0, 6.0, 6.0]


def test_retry_after_in_seconds_is_waited_in_full(fake, waits):
    server = fake(fake.problem(429, "overloaded", retry_after="3"), fake.ok(fake.RESET))
    server.client().reset()
    assert waits == [3.0]


def test_retry_after_as_a_date_is_waited_in_full(fake, waits):
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    server = fake(fake.problem(503, "draining", retry_after=when), fake.ok(fake.RESET))
    server.client().reset()
    assert len(waits) == 1
    assert 15 < waits[0] <= 20


@pytest.fixture
def far_from_utc(monkeypatch):
    """Set a time zone nine hours from UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "XYZ-9")
        time.tzset()
        yield
    time.tzset()


def test_a_date_without_a_zone_is_utc(far_from_utc, fake, waits):
    when = format_datetime((datetime.now(UTC) + timedelta(seconds=20)).replace(tzinfo=None))
    assert when.endswith("-0000")
    server = fake(fake.problem(503, "draining", retry_after=when), fake.ok(fake.RESET))
    server.client().reset()
    assert 15 < waits[0] <= 20


def test_a_long_retry_after_is_raised_and_not_waited(fake, waits):
    server = fake(fake.problem(429, "overloaded", retry_after="600"))
    with pytest.raises(sdk.OverloadedError) as raised:
        server.client().reset()
    assert raised.value.retry_after_s == 600
    assert len(server.requests) == 1


def test_an_unreadable_retry_after_is_ignored(fake, waits):
    server = fake(fake.problem(429, "overloaded", retry_after="soon"), fake.ok(fake.RESET))
    server.client().reset()
    assert 0.07 < waits[0] <= 0.1
