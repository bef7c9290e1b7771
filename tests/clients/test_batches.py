"""Batches: what is sent, how results are read, which rows are counted, and what is retried."""

import asyncio
import re

import httpx
import numpy as np
import pytest

import dreamserve_client as sdk

BOTH = ["s1", "s2"]


def test_a_batch_of_resets_sends_the_given_fields_and_chooses_its_ids(fake):
    server = fake(fake.ok(fake.RESET_BATCH))
    client = server.client()
    client.reset_batch(2, world="pong", seeds=np.array([7, 8]), latents=np.ones((2, 2)))
    client.reset_batch(2)
    sent, again = server.body(0), server.body(1)
    ids = [*sent.pop("session_ids"), *again.pop("session_ids")]
    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"[0-9a-f]{16}--[0-9a-f]{16}", session_id) for session_id in ids)
    routes = [request.headers["x-session-id"] for request in server.requests]
    assert [sdk.route_of(session_id) for session_id in ids] == [routes[0]] * 2 + [routes[1]] * 2
    assert routes[0] != routes[1]
    assert sent == {"world": "pong", "seeds": [7, 8], "latents": [[1.0, 1.0], [1.0, 1.0]]}
    assert again == {}
    assert server.requests[0].url.path == "/reset/batch"


def test_a_batch_of_resets_may_be_of_ids_of_the_callers_own(fake):
    server = fake(fake.ok(fake.RESET_BATCH))
    server.client().reset_batch(session_ids=tuple(BOTH), temperatures=[1, 0.5], bank=[3, 4])
    assert server.body() == {"session_ids": BOTH, "temperatures": [1, 0.5], "bank": [3, 4]}


@pytest.mark.parametrize("fields", [{}, {"count": 2, "session_ids": BOTH}])
def test_a_batch_of_resets_has_a_count_or_ids(fake, fields):
    server = fake(fake.ok(fake.RESET_BATCH))
    with pytest.raises(sdk.InvalidRequestError, match="give exactly one of session_ids and count"):
        server.client().reset_batch(**fields)
    assert not server.requests


def test_a_batch_of_resets_is_read_into_columns(fake):
    errors = [fake.row_error(1, 429, "overloaded")]
    server = fake(fake.ok(fake.RESET_BATCH, errors=errors, later=1))
    result = server.client().reset_batch(session_ids=BOTH)
    assert (result.world, result.session_ids) == ("pong", ["s1", "s2"])
    assert [result.latents.dtype, result.temperatures.dtype] == [np.float32] * 2
    np.testing.assert_array_equal(result.latents, [[0.5, -0.25], [0, 1]])
    assert result.seeds.dtype == np.int64
    assert result.seeds.tolist() == [7, 2**53 - 1]
    assert result.temperatures.tolist() == [1.0, 0.5]
    assert result.errors == [sdk.RowError(1, "overloaded", 429, "about overloaded")]


@pytest.mark.parametrize(
    ("actions", "sent"),
    [
        ([1, 0], [1, 0]),
        (np.array([1, 0], np.int32), [1, 0]),
        ([np.int64(1), 0], [1, 0]),
        (np.array([[0.5], [-1.0]], np.float32), [[0.5], [-1.0]]),
    ],
)
def test_actions_may_be_lists_or_arrays_a_row_each(fake, actions, sent):
    server = fake(fake.ok(fake.STEP_BATCH))
    server.client().step_batch(tuple(BOTH), actions)
    assert server.body() == {"session_ids": BOTH, "actions": sent}
    assert server.requests[0].url.path == "/step/batch"
    assert server.requests[0].headers["x-session-id"] == BOTH[0]


def test_a_batch_of_steps_is_read_into_columns(fake):
    server = fake(fake.ok(fake.STEP_BATCH, terminated=[False, True], later="unknown"))
    result = server.client().step_batch(BOTH, [1, 0])
    assert result.session_ids == ["s1", "s2"]
    assert (result.steps.dtype, result.steps.tolist()) == (np.int64, [1, 1])
    np.testing.assert_array_equal(result.latents, np.array([[0.1, 0.2], [0.3, 0.4]], np.float32))
    assert [result.latents.dtype, result.rewards.dtype] == [np.float32] * 2
    assert [result.terminated.dtype, result.truncated.dtype] == [np.bool_] * 2
    assert result.terminated.tolist() == [False, True]
    assert result.errors == []


def test_columns_of_another_length_are_refused_with_the_servers_message(fake):
    server = fake(fake.ok(fake.STEP_BATCH))
    with pytest.raises(sdk.InvalidRequestError, match="actions has 3 rows, the batch 2"):
        server.client().step_batch(BOTH, [1, 0, 1])
    assert not server.requests


def test_a_server_without_batches_raises_an_error_of_its_own(fake):
    with pytest.raises(sdk.ProtocolError, match="without 'seeds'"):
        fake(fake.ok(fake.STEP_BATCH)).client().reset_batch(2)
    with pytest.raises(sdk.ProtocolError, match="unreadably"):
        fake(httpx.Response(200, json=[])).client().step_batch(BOTH, [1, 0])


def test_a_batch_after_its_resets_carries_its_numbers_and_may_be_sent_again(fake, waits):
    server = fake(
        fake.ok(fake.RESET_BATCH),
        httpx.ReadError("cut"),
        fake.ok(fake.STEP_BATCH),
        fake.ok(fake.STEP_BATCH, steps=[2, 2]),
    )
    client = server.client()
    client.reset_batch(session_ids=BOTH)
    client.step_batch(BOTH, [1, 0])
    client.step_batch(BOTH, [0, 0])
    assert server.requests[1].content == server.requests[2].content
    assert [server.body(i).get("steps") for i in range(4)] == [None, [1, 1], [1, 1], [2, 2]]
    assert len(waits) == 1


def test_a_lost_batch_of_resets_is_retried_with_the_same_ids(fake, waits):
    server = fake(httpx.ReadError("cut"), fake.ok(fake.RESET_BATCH))
    server.client().reset_batch(2)
    assert server.requests[0].content == server.requests[1].content


def test_a_batch_with_a_session_that_was_never_seen_is_sent_once_and_without_numbers(fake, waits):
    server = fake(fake.ok(fake.RESET), httpx.ReadError("cut"))
    client = server.client()
    client.reset(session_id="s1")
    with pytest.raises(sdk.APIConnectionError):
        client.step_batch(BOTH, [1, 0])
    assert len(server.requests) == 2
    assert "steps" not in server.body()


def test_the_callers_own_numbers_are_sent_as_they_are_and_again(fake, waits):
    server = fake(httpx.ReadError("cut"), fake.ok(fake.STEP_BATCH))
    server.client().step_batch(BOTH, [1, 0], steps=np.array([5, 9]))
    assert [server.body(i)["steps"] for i in range(2)] == [[5, 9], [5, 9]]


def test_batches_and_single_steps_are_counted_together(fake):
    server = fake(
        fake.ok(fake.RESET_BATCH),
        fake.ok(fake.STEP),
        fake.ok(fake.STEP_BATCH, steps=[2, 1]),
        fake.ok(fake.STEP, step=3),
    )
    client = server.client()
    client.reset_batch(session_ids=BOTH)
    client.step("s1", 1)
    client.step_batch(BOTH, [1, 0])
    client.step("s1", 1)
    assert server.body(2)["steps"] == [2, 1]
    assert server.body(3)["step"] == 3


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "step_conflict"), (404, "session_not_found"), (500, "dream_not_finite")],
)
def test_a_row_with_an_error_keeps_its_number_and_the_others_go_on(fake, status, code):
    errors = [fake.row_error(1, status, code)]
    failed = fake.ok(fake.STEP_BATCH, steps=[1, 0], errors=errors)
    server = fake(fake.ok(fake.RESET_BATCH), failed, fake.ok(fake.STEP_BATCH, steps=[2, 1]))
    client = server.client()
    client.reset_batch(session_ids=BOTH)
    client.step_batch(BOTH, [1, 0])
    client.step_batch(BOTH, [1, 0])
    assert server.body()["steps"] == [2, 1]


def test_a_dream_that_failed_to_start_is_not_counted(fake):
    errors = [fake.row_error(1, 429, "overloaded")]
    one = fake.ok(fake.STEP_BATCH, steps=[2])
    server = fake(fake.ok(fake.RESET_BATCH, errors=errors), fake.ok(fake.STEP_BATCH), one)
    client = server.client()
    client.reset_batch(session_ids=BOTH)
    client.step_batch(BOTH, [1, 0])
    assert "steps" not in server.body()
    client.step_batch(["s1"], [1])
    assert server.body()["steps"] == [2]


def test_an_ended_dream_keeps_its_count_until_it_is_reset(fake):
    ended = fake.ok(fake.STEP_BATCH, terminated=[False, True])
    errors = [fake.row_error(1, 409, "dream_ended")]
    refused = fake.ok(fake.STEP_BATCH, steps=[2, 0], errors=errors)
    over = fake.ok(fake.RESET_BATCH, session_ids=["s2"])
    server = fake(fake.ok(fake.RESET_BATCH), ended, refused, over, fake.ok(fake.STEP_BATCH))
    client = server.client()
    client.reset_batch(session_ids=BOTH)
    client.step_batch(BOTH, [1, 0])
    client.step_batch(BOTH, [1, 0])
    assert server.body()["steps"] == [2, 2]
    client.reset_batch(session_ids=["s2"])
    client.step_batch(BOTH, [1, 0])
    assert server.body()["steps"] == [3, 1]


def test_the_async_client_sends_and_counts_batches_alike(fake, waits):
    server = fake(
        fake.ok(fake.RESET_BATCH), httpx.ReadError("cut"), fake.ok(fake.STEP_BATCH, steps=[1, 1])
    )

    async def dream():
        async with server.async_client() as client:
            first = await client.reset_batch(session_ids=BOTH)
            return await client.step_batch(first.session_ids, [1, 0])

    assert asyncio.run(dream()).steps.tolist() == [1, 1]
    assert [server.body(i).get("steps") for i in range(3)] == [None, [1, 1], [1, 1]]
