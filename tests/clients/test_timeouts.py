"""How long each call may take, who says so, and what is not sent again when it took longer."""

import httpx
import pytest

import dreamserve_client as sdk
from dreamserve_client.timeouts import LONG_S
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.verbs import BY_NAME


def bounds(server) -> list[float]:
    """The timeouts that the requests were sent with, in seconds."""
    return [request.extensions["timeout"]["read"] for request in server.requests]


def test_calls_that_may_be_long_have_longer_bounds_than_others(fake):
    server = fake(fake.problem(422, "invalid_request"))
    client = server.client()
    calls = [
        (client.reset, {}),
        (client.step, {"session_id": "s1", "action": 1}),
        (client.worlds, {}),
        (client.sample, {"session_id": "s1", "futures": 1, "horizon": 1}),
        (client.rollout, {"policy": "random", "max_steps": 1, "episodes": 1}),
        (client.plan, {"session_id": "s1"}),
        (client.plan, {"session_id": "s1", "budget_ms": 90_000}),
        (client.step_batch, {"session_ids": ["a"], "actions": [1]}),
    ]
    for call, fields in calls:
        with pytest.raises(sdk.InvalidRequestError):
            call(**fields)
    assert bounds(server) == [30, 30, 30, 600, 600, 600, 120, 120]
    assert LONG_S.keys() <= BY_NAME.keys()


def test_no_attempt_waits_longer_than_10_seconds_for_a_connection(fake):
    server = fake(fake.ok(fake.PLAN))
    server.client().plan("s1")
    assert server.requests[0].extensions["timeout"]["connect"] == 10


def test_a_client_or_a_single_call_may_have_another_bound(fake):
    server = fake(fake.ok(fake.PLAN))
    client = server.client(timeout_s=5)
    client.plan("s1")
    client.with_options(timeout_s=900).plan("s1", budget_ms=60_000)
    client.send(PlanRequest("s1"), timeout_s=0.5)
    client.plan("s1")
    assert bounds(server) == [5, 900, 0.5, 5]
    with pytest.raises(sdk.ConfigurationError, match="timeout_s must be"):
        client.send(PlanRequest("s1"), timeout_s=-1)


def test_other_options_share_the_connections_and_the_numbers_of_steps(fake, waits):
    server = fake(fake.ok(fake.RESET), fake.ok(fake.STEP), httpx.ReadError("cut"))
    client = server.client()
    with client.with_options(max_retries=0) as once:
        once.reset(session_id="s1")
    client.step("s1", 1)
    with pytest.raises(sdk.APIConnectionError):
        once.step("s1", 1)
    assert [server.body(i).get("step") for i in range(3)] == [None, 1, 2]
    assert len(server.requests) == 3


def test_a_dream_may_have_other_options_too(fake):
    server = fake(fake.ok(fake.RESET), fake.ok(fake.PLAN))
    dream = server.client().dream()
    patient = dream.with_options(timeout_s=900)
    patient.plan()
    assert bounds(server) == [30, 900]
    assert patient.first is dream.first


def test_a_long_call_that_timed_out_is_not_sent_again(fake, waits):
    server = fake(httpx.ReadTimeout("late"))
    with pytest.raises(sdk.APITimeoutError, match="600 s; a longer timeout_s gives it more time"):
        server.client().plan("s1")
    assert len(server.requests) == 1
    with pytest.raises(sdk.APITimeoutError):
        server.client().step_batch(["a"], [1], steps=[1])
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "error", [httpx.ConnectTimeout("far"), httpx.PoolTimeout("busy"), httpx.ReadError("cut")]
)
def test_a_long_call_that_the_server_is_not_working_on_is_sent_again(fake, waits, error):
    server = fake(error, fake.ok(fake.PLAN))
    server.client().plan("s1")
    assert len(server.requests) == 2


def test_a_short_call_that_timed_out_is_sent_again(fake, waits):
    server = fake(httpx.ReadTimeout("late"), fake.ok(fake.RESET))
    server.client().reset()
    assert len(server.requests) == 2


def test_a_server_that_cannot_be_reached_in_time_is_told_from_one_that_is_slow(fake, waits):
    server = fake(httpx.ConnectTimeout("far"))
    with pytest.raises(sdk.APITimeoutError, match=r"no connection to http://dreams\.test within"):
        server.client(max_retries=0).plan("s1")
