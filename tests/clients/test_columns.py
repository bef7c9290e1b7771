"""Many dreams as an object: what is sent, which steps are counted, and what a failed row does."""

import asyncio

import httpx
import numpy as np
import pytest

import dreamserve_client as sdk

DELETED = {"session_ids": ["s1", "s2"], "errors": []}
NO_ROWS = r"rows must be numbers of rows, 0 to 1|rows: must hold numbers, not bool"
ONE = {  # changes to a batch of two that make it one of the second alone
    "session_ids": ["s2"],
    "latents": [[0, 1]],
    "rewards": [1],
    "terminated": [False],
    "truncated": [False],
}


def begun(fake, *outcomes, **fields):
    """Two dreams on a server that then has these outcomes, and the server."""
    server = fake(fake.ok(fake.RESET_BATCH), *outcomes)
    return server.client().dreams(2, **fields), server


def test_dreams_begin_with_what_was_asked_for(fake):
    dreams, server = begun(
        fake,
        world="pong",
        seeds=[7, 8],
        temperature=0.5,
        bank=[3, 4],
        rewind_window=2,
        max_steps=9,
        include=["state"],
    )
    sent = server.body()
    assert sent.pop("session_ids") == dreams.session_ids
    assert sent == {
        "world": "pong",
        "seeds": [7, 8],
        "temperatures": [0.5, 0.5],
        "bank": [3, 4],
        "rewind_window": 2,
        "max_steps": 9,
        "include": ["state"],
    }
    assert dreams.first.seeds.tolist() == [7, 2**53 - 1]
    assert len(set(dreams.session_ids)) == 2


def test_ids_may_be_chosen_and_temperatures_differ(fake):
    server = fake(fake.ok(fake.RESET_BATCH))
    dreams = server.client().dreams(session_ids=("s1", "s2"), temperature=[1, 0.25])
    assert server.body() == {"session_ids": ["s1", "s2"], "temperatures": [1, 0.25]}
    assert dreams.session_ids == ["s1", "s2"]


def test_steps_are_numbered_and_those_of_some_rows_counted_alone(fake):
    one = fake.ok(fake.STEP_BATCH)
    second = fake.ok({**fake.STEP_BATCH, **ONE}, steps=[2])
    dreams, server = begun(fake, one, second, second, on_end="restart")
    dreams.step([1, 0])
    dreams.step([1], np.array([1]))
    assert dreams.steps.tolist() == [1, 2]
    sent = server.body()
    assert sent["session_ids"] == dreams.session_ids[1:]
    assert (sent["steps"], sent["on_end"]) == ([2], "restart")


def test_a_new_dream_counts_from_the_start(fake):
    one = fake.ok(fake.RESET_BATCH, latents=[[0, 1]], seeds=[9], temperatures=[0.5])
    hot = fake.ok(fake.RESET_BATCH, latents=[[0, 1]], seeds=[9], temperatures=[2])
    dreams, server = begun(fake, fake.ok(fake.STEP_BATCH), one, hot, temperature=[1, 0.5])
    dreams.step([1, 0])
    dreams.reset(np.array([1]), seeds=[9])
    assert dreams.steps.tolist() == [1, 0]
    sent = server.body()
    assert (sent["session_ids"], sent["seeds"]) == (dreams.session_ids[1:], [9])
    assert sent["temperatures"] == [0.5]
    dreams.reset(np.array([0]), temperature=2)
    assert dreams.temperatures.tolist() == [2, 0.5]


def test_a_failed_row_raises_its_error_and_counts_no_step(fake):
    errors = [fake.row_error(1, 400, "invalid_action"), fake.row_error(0, 409, "step_conflict")]
    failed = fake.ok(fake.STEP_BATCH, errors=errors)
    dreams, server = begun(fake, failed, fake.ok(fake.STEP_BATCH))
    with pytest.raises(sdk.InvalidActionError, match=r"row 1: .* \(1 more failed, too\)"):
        dreams.step([1, 99])
    assert [error.row for error in dreams.errors] == [1, 0]
    assert dreams.steps.tolist() == [0, 0]
    dreams.step([1, 0])
    assert [server.body(i)["steps"] for i in (1, 2)] == [[1, 1]] * 2
    assert not dreams.errors


def test_the_error_of_some_rows_names_the_dreams_row(fake):
    errors = [fake.row_error(0, 410, "session_expired")]
    failed = fake.ok({**fake.STEP_BATCH, **ONE}, steps=[0], errors=errors)
    dreams, _ = begun(fake, failed)
    with pytest.raises(sdk.SessionExpiredError, match="row 1: "):
        dreams.step([1], np.array([1]))
    assert [error.row for error in dreams.errors] == [1]


def test_of_a_reset_that_fails_in_a_row_the_other_rows_go_on_as_new_dreams(fake):
    failed = fake.ok(
        fake.RESET_BATCH,
        errors=[fake.row_error(1, 422, "invalid_request")],
        temperatures=[2, 0],
    )
    step = fake.ok(fake.STEP_BATCH)
    dreams, server = begun(fake, step, failed, step, temperature=[1, 0.5])
    dreams.step([1, 0])
    with pytest.raises(sdk.InvalidRequestError, match="row 1"):
        dreams.reset(temperature=2)
    assert [error.row for error in dreams.errors] == [1]
    assert dreams.steps.tolist() == [0, 1]
    assert dreams.temperatures.tolist() == [2, 0.5]
    dreams.step([1, 0])
    assert server.body()["steps"] == [1, 2]


def test_of_a_reset_of_some_rows_that_fails_in_one_the_others_are_named_as_the_dreams_are(fake):
    ids = {"session_ids": ["a", "b", "c"], "latents": [[0, 1]] * 3}
    three = fake.ok(fake.RESET_BATCH, **ids, seeds=[1, 2, 3], temperatures=[1, 1, 1])
    after = fake.ok({**fake.STEP_BATCH, **ids}, steps=[1, 1, 1])
    two = fake.ok(fake.RESET_BATCH, errors=[fake.row_error(0, 422, "invalid_request")])
    dreams = fake(three, after, two).client().dreams(3)
    dreams.step([0, 0, 0])
    with pytest.raises(sdk.InvalidRequestError, match="row 1"):
        dreams.reset([1, 2])
    assert dreams.steps.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    "refusal", [lambda fake: fake.problem(422, "invalid_request"), lambda _: httpx.ReadError("cut")]
)
def test_a_temperature_is_that_of_later_dreams_only_once_it_was_accepted(fake, waits, refusal):
    begins = fake.ok(fake.RESET_BATCH)
    server = fake(begins, refusal(fake), begins)
    dreams = server.client(max_retries=0).dreams(2, temperature=[1, 0.5])
    with pytest.raises(sdk.DreamserveError):
        dreams.reset(temperature=-1)
    assert dreams.temperatures.tolist() == [1, 0.5]
    dreams.reset()
    assert server.body()["temperatures"] == [1, 0.5]


@pytest.mark.parametrize("rows", [[1], (1,), range(1, 2), np.array([1], np.int8), [np.int64(1)]])
def test_rows_may_be_any_sequence_of_their_numbers(fake, rows):
    second = fake.ok({**fake.STEP_BATCH, **ONE}, steps=[1])
    again = fake.ok(fake.RESET_BATCH, latents=[[0, 1]], seeds=[9], temperatures=[1])
    dreams, server = begun(fake, second, again)
    dreams.step([1], rows)
    assert dreams.steps.tolist() == [0, 1]
    dreams.reset(rows, temperature=1)
    assert dreams.steps.tolist() == [0, 0]
    for i in (1, 2):
        assert server.body(i)["session_ids"] == dreams.session_ids[1:]


@pytest.mark.parametrize(
    "rows", [1, [], [[0]], [0.0], ["0"], "01", [True, False], np.array([True, False]), [2], [-1]]
)
def test_what_are_no_numbers_of_rows_is_refused_before_anything_is_sent(fake, rows):
    dreams, server = begun(fake, fake.ok(fake.STEP_BATCH))
    for call in (lambda: dreams.step([1, 0], rows), lambda: dreams.reset(rows)):
        with pytest.raises(
            sdk.InvalidRequestError,
            match=NO_ROWS,
        ):
            call()
    assert len(server.requests) == 1


def test_dreams_that_do_not_all_begin_are_ended(fake):
    failed = fake.ok(fake.RESET_BATCH, errors=[fake.row_error(1, 429, "overloaded")])
    server = fake(failed, fake.ok(DELETED))
    with pytest.raises(sdk.OverloadedError, match="row 1"):
        server.client().dreams(2)
    assert server.requests[-1].url.path == "/delete/batch"


@pytest.mark.parametrize("code", ["session_not_found", "session_expired"])
def test_leaving_ends_all_sessions_at_once_and_those_gone_before_are_no_error(fake, code):
    gone = fake.ok(DELETED, errors=[fake.row_error(0, 404, code)])
    dreams, server = begun(fake, gone)
    with dreams:
        pass
    assert server.requests[-1].url.path == "/delete/batch"
    assert server.body() == {"session_ids": dreams.session_ids}


def test_a_session_that_cannot_be_ended_is_an_error(fake):
    dreams, _ = begun(fake, fake.ok(DELETED, errors=[fake.row_error(0, 500, "internal")]))
    with pytest.raises(sdk.ProblemError, match="row 0"):
        dreams.close()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one of session_ids and count"),
        ({"count": 2, "session_ids": ["a", "b"]}, "exactly one of session_ids and count"),
        ({"count": 0}, "at least one dream"),
        ({"count": 2, "temperature": [1, 1, 1]}, "temperature must be one number, or 2 of them"),
        ({"count": 2, "seeds": [1]}, "seeds has 1 rows, the batch 2"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(fake, fields, message):
    server = fake(fake.ok(fake.RESET_BATCH))
    with pytest.raises(sdk.InvalidRequestError, match=message):
        server.client().dreams(**fields)
    assert not server.requests


def test_the_awaited_dreams_are_the_same(fake, waits):
    server = fake(
        fake.ok(fake.RESET_BATCH),
        httpx.ReadError("cut"),
        fake.ok(fake.STEP_BATCH),
        fake.ok(fake.RESET_BATCH),
        fake.ok(DELETED),
    )

    async def dream():
        async with server.async_client() as client, await client.dreams(2) as dreams:
            assert dreams.first.seeds.tolist() == [7, 2**53 - 1]
            rewards = (await dreams.step([1, 0])).rewards
            await dreams.reset(seeds=[1, 2])
            return rewards.tolist(), dreams.steps.tolist()

    assert asyncio.run(dream()) == ([1.0, 0.5], [0, 0])
    assert server.body(1) == server.body(2)
    assert server.requests[-1].url.path == "/delete/batch"
    assert len(waits) == 1


def test_the_awaited_dreams_that_do_not_all_begin_are_ended(fake):
    failed = fake.ok(fake.RESET_BATCH, errors=[fake.row_error(1, 429, "overloaded")])
    server = fake(failed, fake.ok(DELETED))

    async def begin():
        async with server.async_client() as client:
            await client.dreams(2)

    with pytest.raises(sdk.OverloadedError, match="row 1"):
        asyncio.run(begin())
    assert server.requests[-1].url.path == "/delete/batch"


def test_later_dreams_begin_in_the_world_of_the_first_ones(fake):
    """Another world may be the default by then."""
    dreams, server = begun(fake, fake.ok(fake.RESET_BATCH))
    dreams.reset()
    worlds = [server.body(n).get("world") for n in (0, 1)]
    assert worlds == [None, fake.RESET_BATCH["world"]]


def test_later_dreams_of_an_async_client_do_too(fake):
    server = fake(fake.ok(fake.RESET_BATCH), fake.ok(fake.RESET_BATCH))

    async def run():
        async with server.async_client() as client:
            await (await client.dreams(2)).reset()

    asyncio.run(run())
    assert server.body(1)["world"] == fake.RESET_BATCH["world"]


def test_numbers_of_dreams_and_ids_may_be_numpys(fake):
    server = fake(fake.ok(fake.RESET_BATCH))
    assert len(server.client().dreams(np.int64(2)).session_ids) == 2
    dreams = server.client().dreams(session_ids=np.array(["s1", "s2"]))
    assert dreams.session_ids == server.body()["session_ids"] == ["s1", "s2"]
    assert server.requests[-1].headers["x-session-route"] == "s1"


@pytest.mark.parametrize("count", [2.0, True, "2"])
def test_what_is_no_number_of_dreams_is_refused_before_anything_is_sent(fake, count):
    server = fake(fake.ok(fake.RESET_BATCH))
    with pytest.raises(sdk.InvalidRequestError, match="count must be an integer"):
        server.client().dreams(count)
    assert not server.requests


def test_what_the_object_shows_stays_as_it_was(fake):
    dreams, _ = begun(fake, fake.ok(fake.STEP_BATCH))
    steps, temperatures, ids = dreams.steps, dreams.temperatures, dreams.session_ids
    dreams.step([1, 0])
    assert steps.tolist() == [0, 0]
    temperatures[:] = 9
    ids.clear()
    assert dreams.temperatures.tolist() == [1.0, 0.5]
    assert len(dreams.session_ids) == 2


@pytest.mark.parametrize("end", ["lost", "refused", "row"])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_error_of_the_block_is_not_replaced_by_that_of_its_end(fake, waits, end, is_async):
    failed = {
        "lost": httpx.ConnectError("no"),
        "refused": fake.problem(503, "store_unavailable"),
        "row": fake.ok(DELETED, errors=[fake.row_error(1, 503, "session_moved")]),
    }[end]
    server = fake(fake.ok(fake.RESET_BATCH), failed)

    async def leave() -> None:
        async with await server.async_client().dreams(2):
            raise KeyError("mine")

    def leave_at_once() -> None:
        with server.client().dreams(2):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(leave()) if is_async else leave_at_once()
    assert len(server.requests) == 2  # the end was tried once, without a wait
    assert not waits


@pytest.mark.parametrize("is_async", [False, True])
def test_an_error_of_a_single_dreams_block_is_not_replaced_either(fake, waits, is_async):
    server = fake(fake.ok(fake.RESET), fake.problem(503, "store_unavailable"))

    async def leave() -> None:
        async with await server.async_client().dream():
            raise KeyError("mine")

    def leave_at_once() -> None:
        with server.client().dream():
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(leave()) if is_async else leave_at_once()
    assert len(server.requests) == 2
    assert not waits
