"""A request of a sequence begins a dream, steps it and ends it, as the other paths do."""

import asyncio
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.fake import fake_world
from dreamserve_protocol.errors import DeadlinePassedError, DreamNotFiniteError, OverloadedError
from dreamserve_protocol.sessions import RestoreRequest
from dreamserve_protocol.step import StepRequest

pytestmark = pytest.mark.anyio

START, END = {"sequence_start": True}, {"sequence_end": True}


async def stepped(client: Any, actions: list[Any], **reset: Any) -> list[dict[str, Any]]:
    """Return the results of /reset and of a /step for each action."""
    begun = await client.reset(session_id="twin", **reset)
    results = [begun]
    for action in actions:
        fields = {"session_id": "twin", "action": action, "include": ["frame", "state"]}
        results.append((await client.post("/step", fields)).json())
    return results


def same(tensors: dict[str, np.ndarray], result: dict[str, Any]) -> None:
    """Assert that outputs have the very bits of a result."""
    for name in ("latent", "reward"):
        wanted = np.array(result.get(name, 0), np.float32).reshape(tensors[name].shape)
        assert tensors[name].tobytes() == wanted.tobytes(), name
    assert [bool(tensors[name][0]) for name in ("terminated", "truncated")] == [
        result.get("terminated", False),
        result.get("truncated", False),
    ]


async def test_a_start_without_an_action_returns_the_first_latent(client, infer, tensors_of):
    (begun,) = await stepped(client, [], seed=7)
    response = await infer(seed=7, **START)
    same(tensors_of(response), begun)


async def test_a_start_with_an_action_also_takes_the_first_step(client, infer, tensors_of):
    _, first, second = await stepped(client, [1, 2], seed=7)
    same(tensors_of(await infer(1, seed=7, **START)), first)
    same(tensors_of(await infer(2)), second)


async def test_a_box_is_stepped_alike(client, infer, tensors_of):
    _, first = await stepped(client, [[0.25, -0.5]], seed=7, world="box")
    for binary in (True, False):
        response = await infer(
            [0.25, -0.5], world="box", binary=binary, seed=7, sequence_id=3 + binary, **START
        )
        same(tensors_of(response), first)


async def test_start_parameters_are_those_of_reset(client, infer, tensors_of):
    begun, first = await stepped(client, [2], seed=3, temperature=0.5, start={"bank": 5})
    wanted = {"seed": 3, "temperature": 0.5, "bank": 5, "rewind_window": 4}
    same(tensors_of(await infer(**wanted, **START)), begun)
    same(tensors_of(await infer(2)), first)
    rewound = await client.post("/sessions/1/rewind", {"to_step": 0})
    assert rewound.json()["latent"] == begun["latent"]


async def test_without_a_seed_one_is_drawn_and_told(client, infer):
    response = await infer(binary_data_output=False, **START)
    told = response.json()["parameters"]
    assert told == {"sequence_id": 1, "step": 0, "seed": told["seed"]}
    assert (await client.http.get("/sessions/1")).json()["seed"] == told["seed"]


async def test_an_end_with_an_action_takes_the_last_step(client, infer, tensors_of):
    *_, last = await stepped(client, [1, 1], seed=7)
    await infer(1, seed=7, **START)
    same(tensors_of(await infer(1, **END)), last)
    assert (await client.http.get("/sessions/1")).status_code == 404


async def test_an_end_without_an_action_only_ends(client, infer):
    await infer(seed=7, **START)
    response = await infer(**END)
    assert response.json() == {
        "model_name": "fake",
        "model_version": "1",
        "parameters": {"sequence_id": 1},
        "outputs": [],
    }
    assert (await infer(**END)).json()["code"] == "session_not_found"


async def test_a_sequence_of_one_request_leaves_nothing(client, infer, tensors_of):
    _, first = await stepped(client, [1], seed=7)
    same(tensors_of(await infer(1, seed=7, **START, **END)), first)
    assert (await client.http.get("/sessions/1")).status_code == 404
    same(tensors_of(await infer(seed=7, **START, **END)), await client.reset(seed=7))
    assert (await client.http.get("/sessions/1")).status_code == 404


async def test_a_sequence_is_the_session_of_that_id_for_every_transport(client, infer):
    await client.reset(session_id="7", seed=7)
    await infer(1, sequence_id=7)
    await infer(1, sequence_id="7")
    assert (await client.http.get("/sessions/7")).json()["step"] == 2
    assert (await client.post("/plan", {"session_id": "7", "horizon": 2})).status_code == 200


@pytest.mark.parametrize("sequence_id", [1, 2**64 - 1, "a-B_9"])
async def test_ids_are_integers_of_64_bits_or_names(client, infer, sequence_id):
    assert (await infer(sequence_id=sequence_id, **START)).status_code == 200
    assert (await client.http.get(f"/sessions/{sequence_id}")).status_code == 200


async def test_a_start_never_takes_the_place_of_a_dream_that_goes_on(client, infer):
    await infer(1, seed=7, **START)
    response = await infer(1, **START)
    assert (response.status_code, response.json()["code"]) == (409, "step_conflict")
    assert "sequence 1 is at step 1 of a dream in fake" in response.json()["error"]
    assert (await client.http.get("/sessions/1")).json()["step"] == 1


async def test_of_starts_at_once_one_begins_the_dream(infer):
    responses = await asyncio.gather(*(infer(1, seed=i, **START) for i in range(8)))
    assert sorted(response.status_code for response in responses) == [200, *[409] * 7]


async def test_a_dream_that_ended_may_start_over(client, infer, tensors_of):
    await infer(seed=7, **START)
    async with asyncio.timeout(30):
        while not tensors_of(await infer(2))["terminated"][0]:
            pass
    response = await infer(2)
    assert (response.status_code, response.json()["code"]) == (409, "dream_ended")
    for name in ("error", "detail"):
        assert response.json()[name].endswith("; a request with sequence_start starts over")
    absent = (await infer(2, sequence_id=9)).json()["error"]
    assert absent.startswith("no session 9 on server ")
    assert absent.endswith("a request with sequence_start begins one")
    assert (await infer(seed=8, **START)).status_code == 200


async def test_a_dream_that_reached_its_time_limit_may_start_over(client, infer, tensors_of):
    *_, last = await stepped(client, [1, 1], seed=7, max_steps=2)
    await infer(1, seed=7, max_steps=2, **START)
    tensors = tensors_of(await infer(1))
    same(tensors, last)
    assert tensors["truncated"].tolist() == [True]
    assert (await infer(1)).json()["code"] == "dream_ended"
    assert (await infer(1, **START)).status_code == 200


@pytest.mark.parametrize("wrong", [{"action": 9}, {"action": 1, "bank": 999}])
async def test_a_start_that_fails_begins_nothing(client, infer, wrong):
    assert 400 <= (await infer(**wrong, **START)).status_code < 500
    assert (await client.http.get("/sessions/1")).status_code == 404


async def test_a_sequence_is_stepped_through_its_own_world_only(client, infer):
    await client.reset(session_id="1", world="box", seed=7)
    response = await infer(1)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert response.json()["error"] == "sequence 1 is of the world box"
    assert (await client.http.get("/sessions/1")).json()["step"] == 0


async def test_a_request_whose_timeout_has_passed_begins_steps_and_ends_nothing(client, body_of):
    async def ask(timeout_s: str, action: int | None = None, **flags: bool) -> Any:
        body, headers = body_of(action, parameters={"sequence_id": 1, **flags})
        headers = {**headers, "x-request-timeout": timeout_s}
        return await client.http.post("/v2/models/fake/infer", content=body, headers=headers)

    late = await ask("1e-9", **START)
    assert (late.status_code, late.json()["code"]) == (408, "deadline_passed")
    assert "timeout" in late.json()["error"]
    assert (await client.http.get("/sessions/1")).status_code == 404
    assert (await ask("30", 1, **START)).status_code == 200
    for flags in ({"action": 1}, END):
        assert (await ask("1e-9", **flags)).json()["code"] == "deadline_passed"
    assert (await client.http.get("/sessions/1")).json()["step"] == 1
    refused = await ask("soon", 1)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert "x-request-timeout must be" in refused.json()["error"]


async def test_what_a_request_stands_for_has_one_timeout_together(client, body_of, monkeypatch):
    left_s = []
    engine = client.app.service.async_engine
    send = engine.send

    async def slow(request: Any, disconnected: Any, caller: Any, timeout_s: float) -> Any:
        left_s.append(timeout_s)
        result = await send(request, disconnected, caller, timeout_s)
        await asyncio.sleep(0.01)
        return result

    monkeypatch.setattr(engine, "send", slow)
    body, headers = body_of(1, parameters={"sequence_id": 1, **START})
    headers = {**headers, "x-request-timeout": "30"}
    response = await client.http.post("/v2/models/fake/infer", content=body, headers=headers)
    assert response.status_code == 200
    assert 20 < left_s[-1] <= left_s[-2] - 0.009 < 30


async def test_a_server_of_one_world_steps_too(serving, body_of, tensors_of):
    async with serving(fake_world()) as client:
        for number, extra in enumerate([START, {}, END], start=1):
            body, headers = body_of(1, parameters={"sequence_id": 5, **extra})
            response = await client.http.post(
                "/v2/models/fake/infer", content=body, headers=headers
            )
            assert response.json()["parameters"]["step"] == number


async def test_an_invalid_action_begins_nothing_in_place_of_an_ended_dream(client, infer):
    await infer(2, max_steps=1, rewind_window=2, **START)
    refused = await infer(9, **START)
    assert refused.status_code == 422
    assert refused.json()["code"] == "invalid_action"
    described = (await client.http.get("/sessions/1")).json()
    assert (described["step"], described["truncated"]) == (1, True)


@pytest.mark.parametrize("worlds", [["new"], ["new", "other"]])
async def test_a_lost_sequence_may_start_over_and_end(serving, body_of, tmp_path, worlds):
    store = f"sqlite:{tmp_path / 'dreams.db'}"

    async def ask(client: Any, world: str, action: int | None, sequence_id: int, **flags: bool):
        body, headers = body_of(action, parameters={"sequence_id": sequence_id, **flags})
        path = f"/v2/models/{world}/infer"
        return await client.http.post(path, content=body, headers=headers)

    async with serving(fake_world("old"), store=store) as client:
        for number in (1, 2, 3):
            assert (await ask(client, "old", 1, number, **START)).status_code == 200
    async with serving(*map(fake_world, worlds), store=store) as client:
        assert (await ask(client, "new", 1, 1)).json()["code"] == "session_lost"
        begun = await ask(client, "new", 1, 1, **START)
        assert (begun.status_code, begun.json()["parameters"]["step"]) == (200, 1)
        assert (await ask(client, "new", 1, 2, **END)).json()["code"] == "session_lost"
        assert (await ask(client, "new", None, 2, **END)).status_code == 200
        assert (await ask(client, "new", None, 3, **END)).status_code == 200
        for number in (2, 3):
            ended = await client.http.get(f"/sessions/{number}")
            assert ended.json()["code"] == "session_not_found"


@pytest.mark.parametrize("error", [DeadlinePassedError, OverloadedError, DreamNotFiniteError])
async def test_a_start_that_is_undone_leaves_the_ended_dream_that_it_would_have_replaced(
    client, infer, monkeypatch, error
) -> None:
    await client.reset(session_id="1", seed=5, max_steps=1, rewind_window=4)
    step = {"session_id": "1", "action": 1, "step": 1, "include": ["frame"]}
    taken = (await client.post("/step", step)).json()
    before = (await client.http.get("/sessions/1/snapshot")).json()
    engine = client.app.service.async_engine
    queue = engine.queue
    refused = [StepRequest, RestoreRequest]  # the second one is tried again

    def queued(request: Any, *options: Any) -> None:
        if type(request) in refused:
            refused.remove(type(request))
            raise OverloadedError("full") if len(refused) == 0 else error("not in time")
        queue(request, *options)

    monkeypatch.setattr(engine, "queue", queued)
    assert (await infer(1, seed=7, **START)).json()["code"] == error.code
    assert not refused
    assert (await client.http.get("/sessions/1/snapshot")).json() == before
    assert (await client.post("/step", step)).json() == taken  # sent again
    assert (await infer(1, seed=7, **START)).status_code == 200


async def test_a_start_that_cannot_be_undone_leaves_no_other_dream(client, infer, monkeypatch):
    await client.reset(session_id="1", seed=5, max_steps=1)
    await client.post("/step", {"session_id": "1", "action": 1})
    engine = client.app.service.async_engine
    queue = engine.queue

    def queued(request: Any, *options: Any) -> None:
        if type(request) in (StepRequest, RestoreRequest):
            raise DeadlinePassedError("not in time")
        queue(request, *options)

    monkeypatch.setattr(engine, "queue", queued)
    assert (await infer(1, seed=7, **START)).json()["code"] == "deadline_passed"
    assert (await client.http.get("/sessions/1")).status_code == 404
