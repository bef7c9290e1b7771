"""Every error is a problem with a code, and the server keeps serving after each."""

import asyncio

import httpx
import numpy as np
import pytest

from dreamserve.engine.fake import fake_world

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
MSGPACK = {"content-type": "application/msgpack"}


def assert_problem(response: httpx.Response, status: int, code: str, message: str = "") -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    waits = {"retry_after_s"} if "retry-after" in response.headers else set()
    assert problem.keys() == {"type", "title", "status", "code", "detail", "request_id"} | waits
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["request_id"] == response.headers["x-request-id"]
    assert message in problem["detail"], problem
    assert 0 < len(problem["detail"]) < 1000
    assert "Traceback" not in problem["detail"]


async def assert_still_serving(client) -> None:
    start = await client.reset(seed=1)
    stepped = await client.post("/step", {"session_id": start["session_id"], "action": 0})
    assert stepped.json()["step"] == 1


BODIES = [
    ("/reset", b"{", JSON, 422, "invalid_request"),
    ("/reset", b"[1]", JSON, 422, "invalid_request"),
    ("/reset", b'{"temperature": NaN}', JSON, 422, "not_finite"),
    ("/reset", b"\x81", MSGPACK, 422, "invalid_request"),
    ("/reset", b"\x81\xabtemperature\xcb\x7f\xf8" + bytes(6), MSGPACK, 422, "not_finite"),
    ("/reset", b"seed=1", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
    ("/step", b"", {}, 422, "invalid_request"),
    ("/sample", b"{}", JSON, 422, "invalid_request"),
    ("/plan", b'{"session_id": 1}', JSON, 422, "invalid_request"),
]


@pytest.mark.parametrize(("path", "body", "headers", "status", "code"), BODIES)
async def test_a_broken_body_is_a_problem(client, path, body, headers, status, code) -> None:
    response = await client.http.post(path, content=body, headers=headers)
    assert_problem(response, status, code)
    await assert_still_serving(client)


ACTIONS = [
    ("fake", 3, "invalid_action"),
    ("fake", -1, "invalid_action"),
    ("fake", 2**60, "invalid_action"),
    ("fake", 2**64 - 1, "invalid_action"),
    ("fake", True, "invalid_action"),
    ("fake", 1.0, "invalid_action"),
    ("fake", "1", "invalid_action"),
    ("fake", [0.5, 0.5], "invalid_action"),
    ("box", 1, "invalid_action"),
    ("box", [0.5], "invalid_action"),
    ("box", [0.5, 0.6], "invalid_action"),
    ("box", [-1.5, 0.0], "invalid_action"),
    ("box", [], "invalid_action"),
    ("box", [0.5, 1e300], "not_finite"),
    ("box", np.array([np.nan, 0], np.float32), "not_finite"),
]


@pytest.mark.parametrize(("world", "action", "code"), ACTIONS)
async def test_an_action_outside_the_space_is_refused(client, world, action, code) -> None:
    await client.reset(session_id="s", world=world, seed=1)
    form = "msgpack" if isinstance(action, np.ndarray) else "json"
    response = await client.post("/step", {"session_id": "s", "action": action}, form)
    assert_problem(response, 422, code)
    assert (await client.http.get("/sessions/s")).json()["step"] == 0
    await assert_still_serving(client)


SHAPES = [
    ({"latent": [0.0] * 5}, "invalid_request"),
    ({"latent": []}, "invalid_request"),
    ({"bank": 16}, "invalid_request"),
    ({"frames": np.zeros((1, 9, 8, 3), np.uint8).tolist()}, "invalid_request"),
    ({"frames": np.zeros((1, 8, 8, 1), np.uint8).tolist()}, "invalid_request"),
    ({"frames": np.zeros((2, 8, 8, 3), np.uint8).tolist(), "actions": [3]}, "invalid_action"),
    ({"frames": np.zeros((2, 8, 8, 3), np.uint8).tolist(), "actions": [[0.5]]}, "invalid_action"),
]


@pytest.mark.parametrize(("start", "code"), SHAPES)
async def test_a_start_that_does_not_fit_the_world_is_refused(client, start, code) -> None:
    assert_problem(await client.post("/reset", {"start": start}), 422, code)
    fields = {"start": start, "futures": 1, "horizon": 1}
    assert_problem(await client.post("/sample", fields), 422, code)
    await assert_still_serving(client)


async def test_an_observation_of_the_wrong_size_is_refused(client) -> None:
    await client.reset(session_id="s")
    for wrong in ([0.0] * 3, np.zeros((9, 8, 3), int).tolist()):
        fields = {"session_id": "s", "action": 0, "observation": wrong}
        assert_problem(await client.post("/step", fields), 422, "invalid_request")
    assert (await client.http.get("/sessions/s")).json()["step"] == 0


async def test_open_loop_actions_are_checked_against_the_world(client) -> None:
    await client.reset(session_id="s")
    for actions in ([0, 3], [[0.5], [0.5]]):
        fields = {"session_id": "s", "futures": 1, "horizon": 2, "actions": actions}
        assert_problem(await client.post("/sample", fields), 422, "invalid_action")


async def test_what_does_not_exist_is_not_found(client) -> None:
    unknown = {"session_id": "nobody"}
    for path, fields in [
        ("/step", {"action": 0}),
        ("/plan", {}),
        ("/sample", {"futures": 1, "horizon": 1}),
    ]:
        response = await client.post(path, unknown | fields)
        assert_problem(response, 404, "session_not_found", "nobody")
    assert_problem(await client.http.get("/sessions/nobody"), 404, "session_not_found")
    too_long = await client.http.get(f"/sessions/{'x' * 5000}")
    assert_problem(too_long, 422, "invalid_request", "session_id: ")
    assert_problem(await client.http.delete("/sessions/nobody"), 404, "session_not_found")
    assert_problem(await client.post("/reset", {"world": "doom"}), 404, "world_not_found", "fake")
    assert_problem(await client.http.get("/worlds/doom"), 404, "world_not_found", "fake, box")
    assert_problem(await client.http.get("/nowhere"), 404, "not_found", "/nowhere")
    assert_problem(await client.http.get("/step"), 405, "method_not_allowed", "POST")
    await assert_still_serving(client)


async def test_steps_out_of_order_conflict_and_change_nothing(client) -> None:
    await client.reset(session_id="s")
    fields = {"session_id": "s", "action": 0}
    assert (await client.post("/step", {**fields, "step": 1})).status_code == 200
    for conflicting in ({"step": 3}, {"step": 1, "action": 1}):
        response = await client.post("/step", fields | conflicting)
        assert_problem(response, 409, "step_conflict")
    assert (await client.http.get("/sessions/s")).json()["step"] == 1


async def test_a_gap_conflicts_and_an_ended_dream_says_that_it_has_ended(client) -> None:
    await client.reset(session_id="s", seed=1)
    gap = await client.post("/step", {"session_id": "s", "action": 0, "step": 2})
    assert_problem(gap, 409, "step_conflict")
    number = 0
    while not (stepped := await client.post("/step", {"session_id": "s", "action": 2})).json()[
        "terminated"
    ]:
        number += 1
        assert number < 1000, "a fake dream ends"
    last = stepped.json()["step"]
    for path, fields in [
        ("/step", {"action": 2}),
        ("/step", {"action": 2, "step": last + 1}),
        ("/plan", {"horizon": 2, "candidates": 4}),
        ("/sample", {"futures": 1, "horizon": 1}),
        ("/rollout", {"policy": "random", "episodes": 1, "max_steps": 1}),
    ]:
        assert_problem(await client.post(path, {"session_id": "s", **fields}), 409, "dream_ended")
    beyond = await client.post("/step", {"session_id": "s", "action": 2, "step": last + 2})
    assert beyond.json()["code"] in ("step_conflict", "dream_ended")
    again = await client.post("/step", {"session_id": "s", "action": 2, "step": last})
    assert again.content == stepped.content


async def test_a_start_whose_frame_is_not_finite_is_refused(client) -> None:
    fields = {"start": {"latent": [3e38] * 4}, "include": ["frame"]}
    assert_problem(await client.post("/reset", fields), 422, "not_finite", "start.latent: ")
    fields = {"session_id": "s", "action": 0, "observation": [3e38] * 4, "include": ["frame"]}
    await client.reset(session_id="s")
    assert_problem(await client.post("/step", fields), 422, "not_finite", "observation: ")


async def test_a_header_that_names_another_session_is_refused(client) -> None:
    await client.reset(session_id="s")
    other = {"x-session-id": "t"}
    for request in [
        client.http.post("/reset", json={"session_id": "s"}, headers=other),
        client.http.post("/step", json={"session_id": "s", "action": 0}, headers=other),
        client.http.get("/sessions/s", headers=other),
        client.http.delete("/sessions/s", headers=other),
    ]:
        assert_problem(await request, 422, "invalid_request", "x-session-id")
    assert (await client.http.get("/sessions/s")).json()["step"] == 0


async def test_a_body_that_names_another_session_than_its_path_is_refused(client) -> None:
    for session_id in "st":
        await client.reset(session_id=session_id, rewind_window=1)
        await client.post("/step", {"session_id": session_id, "action": 0})
    for verb, fields in (("fork", {"count": 1}), ("rewind", {"to_step": 0})):
        response = await client.post(f"/sessions/s/{verb}", {**fields, "session_id": "t"})
        assert_problem(response, 422, "invalid_request", "the path and session_id differ")
        response = await client.post(f"/sessions/s/{verb}", {**fields, "session_id": "s"})
        assert response.status_code == 200, response.text
    steps = [(await client.http.get(f"/sessions/{name}")).json()["step"] for name in "st"]
    assert steps == [0, 1]


async def test_a_row_that_goes_non_finite_fails_alone(serving) -> None:
    async with serving(fake_world(nan_action=1)) as client:
        await client.reset(session_id="s")
        await client.reset(session_id="t")
        poisoned, healthy = await asyncio.gather(
            client.post("/step", {"session_id": "s", "action": 1}),
            client.post("/step", {"session_id": "t", "action": 0}),
        )
        assert_problem(poisoned, 500, "dream_not_finite")
        assert healthy.status_code == 200
        assert (await client.post("/step", {"session_id": "s", "action": 0})).json()["step"] == 1


async def test_a_batch_that_cannot_be_computed_is_a_server_error(serving) -> None:
    async with serving(fake_world(failing_action=2)) as client:
        await client.reset(session_id="s")
        response = await client.post("/step", {"session_id": "s", "action": 2})
        assert_problem(response, 500, "engine_failed")
        assert (await client.post("/step", {"session_id": "s", "action": 0})).json()["step"] == 1


async def test_a_full_server_says_when_to_retry(serving) -> None:
    async with serving(capacity=2, session_ttl_s=500) as client:
        await client.reset(session_id="s")
        await client.reset(session_id="t")
        response = await client.post("/reset", {"session_id": "u"})
        assert_problem(response, 429, "overloaded")
        assert 490 <= int(response.headers["retry-after"]) <= 500
        assert 490 <= response.json()["retry_after_s"] <= 500
        await client.reset(session_id="t")
        await client.http.delete("/sessions/t")
        await client.reset(session_id="u")


async def test_an_idle_session_expires_with_its_own_error(serving) -> None:
    async with serving(session_ttl_s=1e-9) as client:
        await client.reset(session_id="s")
        response = await client.post("/step", {"session_id": "s", "action": 0})
        assert_problem(response, 410, "session_expired")


WORK = [
    ("/sample", {"futures": 101, "horizon": 10}, "1010 dreamt steps, the limit is 1000"),
    ("/sample", {"futures": 10**15, "horizon": 10**15}, "the limit is 1000"),
    ("/sample", {"futures": 3, "horizon": 3, "include": ["frames"]}, "9 frames, the limit is 8"),
    ("/sample", {"futures": 9, "horizon": 100, "include": ["components"]}, "1100 dreamt steps"),
    (
        "/sample",
        {"futures": 1, "horizon": 4, "include": ["frames", "components"]},
        "12 frames, the limit is 8",
    ),
    (
        "/sample",
        {"futures": 2, "horizon": 7, "include": ["mixture"]},
        "2 futures x horizon 7 are 1008 bytes of mixtures, the limit is 1000",
    ),
    ("/plan", {"candidates": 101, "horizon": 5, "iterations": 2}, "1010 dreamt steps"),
]


@pytest.mark.parametrize(("path", "fields", "message"), WORK)
async def test_work_over_the_bound_is_refused_with_the_numbers(
    serving, path, fields, message
) -> None:
    async with serving(max_dreamt_steps=1000, max_frames=8, max_mixture_bytes=1000) as client:
        await client.reset(session_id="s")
        response = await client.post(path, {"session_id": "s", **fields})
        assert_problem(response, 413, "too_large", message)
        await assert_still_serving(client)


async def test_random_shooting_takes_one_iteration_whatever_is_requested(serving) -> None:
    async with serving(max_dreamt_steps=100) as client:
        await client.reset(session_id="s")
        fields = {"planner": "random_shooting", "candidates": 20, "horizon": 5, "iterations": 50}
        assert (await client.post("/plan", {"session_id": "s", **fields})).status_code == 200


async def test_too_many_frames_in_one_request_are_refused(serving) -> None:
    async with serving(max_frames=2) as client:
        start = {"frames": np.zeros((3, 8, 8, 3), np.uint8), "actions": [0, 0]}
        response = await client.post("/reset", {"start": start}, "msgpack")
        assert_problem(response, 413, "too_large", "3 frames, the limit is 2")


async def test_a_body_over_the_bound_is_refused_with_and_without_its_length(serving) -> None:
    async def in_pieces():
        for _ in range(20):
            yield b" " * 100

    async with serving(max_body_bytes=1000) as client:
        for content in (b" " * 1001, in_pieces()):
            response = await client.http.post("/reset", content=content, headers=JSON)
            assert_problem(response, 413, "too_large", "1000")
        await assert_still_serving(client)


async def test_a_body_of_exactly_the_bound_is_read_with_and_without_its_length(serving) -> None:
    async def in_pieces():
        yield b"{"
        yield b"}" + b" " * 998

    async with serving(max_body_bytes=1000) as client:
        for content in (b"{}" + b" " * 998, in_pieces()):
            response = await client.http.post("/reset", content=content, headers=JSON)
            assert response.status_code == 200, response.text


async def test_a_body_that_declares_too_much_is_refused_before_any_of_it_is_read(serving) -> None:
    read = []

    async def body():
        read.append(1001)
        yield b" " * 1001

    async with serving(max_body_bytes=1000) as client:
        headers = {**JSON, "content-length": "1001"}
        response = await client.http.post("/reset", content=body(), headers=headers)
        assert_problem(response, 413, "too_large", "1000")
        assert not read


async def test_a_large_body_is_decoded_outside_the_event_loop(client) -> None:
    frames = np.zeros((200, 8, 8, 3), np.uint8)
    start = {"frames": frames.tolist(), "actions": [0] * 199}
    assert (await client.post("/reset", {"start": start})).status_code == 200
    start["actions"][150] = "left"
    response = await client.post("/reset", {"start": start})
    assert_problem(response, 422, "invalid_action", "[150]")


async def test_a_valid_request_id_is_echoed_and_an_invalid_one_replaced(client) -> None:
    async def echoed(request_id: str) -> str:
        response = await client.http.get("/livez", headers={"x-request-id": request_id})
        return response.headers["x-request-id"]

    assert await echoed("trace-1.a_B") == "trace-1.a_B"
    for insane in ("", "a b", "x" * 129, '"><script>'):
        made = await echoed(insane)
        assert len(made) == 32
        assert made != insane
    response = await client.http.get("/nowhere", headers={"x-request-id": "mine"})
    assert response.json()["request_id"] == "mine"


async def test_an_unforeseen_error_is_a_problem_and_is_logged(client, caplog, monkeypatch) -> None:
    def broken(*_):
        raise RuntimeError("secret detail")

    client.unforeseen.add("internal_error")
    with monkeypatch.context() as patched:
        patched.setattr(client.app.service.engine.queue, "add", broken)
        response = await client.post("/reset", {})
    assert_problem(response, 500, "internal_error", "under this request_id")
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == caplog.records[-1].fields["request_id"]
    assert "secret detail" in caplog.text
    await assert_still_serving(client)


async def test_concurrent_requests_get_their_own_responses(client) -> None:
    for i in range(20):
        await client.reset(session_id=f"s{i}", seed=i)
    good = [client.post("/step", {"session_id": f"s{i}", "action": i % 3}) for i in range(20)]
    bad = [client.post("/step", {"session_id": f"s{i}", "action": 7}) for i in range(20)]
    answers = await asyncio.gather(*good, *bad)
    assert [a.json()["session_id"] for a in answers[:20]] == [f"s{i}" for i in range(20)]
    for refused in answers[20:]:
        assert_problem(refused, 422, "invalid_action")


async def test_an_unforeseen_error_of_a_route_with_a_parameter_is_a_problem_too(
    client, caplog, monkeypatch
) -> None:
    def broken(*_):
        raise RuntimeError("secret detail")

    client.unforeseen.add("internal_error")
    with monkeypatch.context() as patched:
        patched.setattr(client.app.service.engine.queue, "add", broken)
        response = await client.http.get("/sessions/a")
    assert_problem(response, 500, "internal_error", "under this request_id")
    assert "secret detail" in caplog.text
    await assert_still_serving(client)
