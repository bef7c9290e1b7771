"""/sessions/{id}/fork, /rewind and /snapshot over HTTP."""

import json
from typing import Any

import pytest

pytestmark = pytest.mark.anyio


async def test_a_fork_without_ids_is_one_new_session(client) -> None:
    await client.reset(session_id="s", seed=1)
    made = (await client.post("/sessions/s/fork", {})).json()
    assert (made["session_id"], made["step"], made["seeds"]) == ("s", 0, [1])
    (name,) = made["session_ids"]
    assert (await client.http.get(f"/sessions/{name}")).json()["seed"] == 1


async def test_a_rewind_by_steps_goes_back_by_that_many(client) -> None:
    await client.reset(session_id="s", seed=1, rewind_window=3)
    for _ in range(3):
        await client.post("/step", {"session_id": "s", "action": 0})
    assert (await client.http.get("/sessions/s")).json()["rewindable_to"] == 0
    back = (await client.post("/sessions/s/rewind", {"steps": 2})).json()
    assert (back["step"], back["rewindable_to"]) == (1, 0)


async def test_put_accepts_what_get_returns(client) -> None:
    await client.reset(session_id="s", seed=1)
    await client.post("/step", {"session_id": "s", "action": 0})
    snapshot = (await client.http.get("/sessions/s/snapshot")).json()
    response = await client.http.put("/sessions/t/snapshot", json=snapshot)
    assert response.status_code == 200
    assert (response.json()["session_id"], response.json()["step"]) == ("t", 1)
    again = (await client.http.get("/sessions/t/snapshot")).json()
    assert again == snapshot


BAD = [
    ("POST", "/sessions/s/fork", {"session_ids": ["a"], "count": 1}, 422, "not both"),
    ("POST", "/sessions/s/fork", {"session_ids": ["no id"]}, 422, "session_ids"),
    ("POST", "/sessions/s/fork", {"session_ids": ["s"]}, 422, "into itself"),
    ("POST", "/sessions/s/fork", {"count": 11}, 413, "11 forks at once, the limit is 10"),
    ("POST", "/sessions/s/fork", {"seeds": [1] * 11}, 413, "11 forks at once, the limit is 10"),
    ("POST", "/sessions/s/fork", {"count": 2, "seeds": [1]}, 422, "2 forks need as many seeds"),
    ("POST", "/sessions/none/fork", {}, 404, "no session none"),
    ("POST", "/sessions/s/rewind", {}, 422, "give exactly one of steps and to_step"),
    ("POST", "/sessions/s/rewind", {"steps": 1}, 409, "cannot go back|keeps no steps|must be"),
    ("POST", "/reset", {"rewind_window": 9}, 413, "9 steps, the limit is 8"),
    ("PUT", "/sessions/s/snapshot", {}, 422, "format: Field required"),
    ("PUT", "/sessions/s/snapshot", {"format": "x", "format_version": 1}, 409, "not x 1"),
    (
        "PUT",
        "/sessions/s/snapshot",
        {"format": "dreamserve-snapshot", "format_version": 2, "more": 1},
        409,
        "this server reads dreamserve-snapshot 1, not dreamserve-snapshot 2",
    ),
    ("PUT", "/sessions/s/snapshot", {"colour": 1}, 422, "colour: is not a known field|and"),
    ("GET", "/sessions/none/snapshot", None, 404, "no session none"),
]


@pytest.mark.parametrize(("method", "path", "fields", "status", "message"), BAD)
async def test_an_invalid_request_is_refused(
    serving, method, path, fields, status, message
) -> None:
    async with serving(max_forks=10, max_rewind=8) as client:
        await client.reset(session_id="s", seed=1)
        await client.post("/step", {"session_id": "s", "action": 0})
        response = await client.http.request(method, path, json=fields)
        assert response.status_code == status, response.text
        assert any(part in response.json()["detail"] for part in message.split("|"))
        assert (await client.http.get("/sessions/s")).json()["step"] == 1


async def test_an_invalid_id_is_refused(client) -> None:
    await client.reset(session_id="s", seed=1)
    snapshot = (await client.http.get("/sessions/s/snapshot")).json()
    response = await client.http.put("/sessions/no%20id/snapshot", json=snapshot)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_a_draining_server_forks_and_restores_only_into_existing_sessions(client) -> None:
    await client.reset(session_id="s", seed=1)
    await client.reset(session_id="t", seed=2)
    snapshot = (await client.http.get("/sessions/s/snapshot")).json()
    client.app.service.engine.drain()
    for fields in ({}, {"session_ids": ["t", "new"]}):
        refused = await client.post("/sessions/s/fork", fields)
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    refused = await client.http.put("/sessions/new/snapshot", json=snapshot)
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    assert (await client.http.get("/sessions/t")).json()["seed"] == 2
    assert (await client.post("/sessions/s/fork", {"session_ids": ["t"]})).status_code == 200
    assert (await client.http.put("/sessions/t/snapshot", json=snapshot)).status_code == 200


@pytest.mark.parametrize("world", ["fake", "box"])
async def test_json_and_msgpack_have_the_same_digest_and_restore_the_same(client, world) -> None:
    await client.reset(session_id="s", seed=1, world=world, rewind_window=4)
    action = 1 if world == "fake" else [0.25, 0.1]
    fields = {"session_id": "s", "action": action, "include": ["frame", "mixture", "state"]}
    before = (await client.post("/step", {**fields, "observation": [0.1] * 4})).json()
    kind = "application/msgpack"
    packed = await client.http.get("/sessions/s/snapshot", headers={"accept": kind})
    written = await client.http.get("/sessions/s/snapshot")
    for name, form, taken in (("p", kind, packed), ("w", "application/json", written)):
        path, headers = f"/sessions/{name}/snapshot", {"content-type": form}
        made = await client.http.put(path, content=taken.content, headers=headers)
        assert made.status_code == 200, made.text
        assert (await client.http.get(path)).content == written.content
        again = {**fields, "session_id": name, "step": 1, "observation": [0.1] * 4}
        assert (await client.post("/step", again)).json() == {**before, "session_id": name}
    broken = {**written.json(), "seed": 2}
    refused = await client.http.put("/sessions/p/snapshot", json=broken)
    assert (refused.status_code, refused.json()["code"]) == (409, "snapshot_refused")


def through_javascript(value: Any) -> Any:
    """Return a value after JSON.parse and JSON.stringify, which do not distinguish 1.0 from 1."""
    if isinstance(value, dict):
        return {name: through_javascript(one) for name, one in value.items()}
    if isinstance(value, list):
        return [through_javascript(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value  # -0.0: 0


@pytest.mark.parametrize("world", ["fake", "box"])
async def test_a_snapshot_that_javascript_has_read_and_written_restores(client, world) -> None:
    whole = {"latent": [1.0, -0.0, 0.0, -2.0]}
    fields = {"session_id": "s", "world": world, "seed": 1, "temperature": 2.0, "start": whole}
    await client.reset(**fields)
    # at step 0, and after a step with whole numbers whose result is kept
    for action in (None, 1 if world == "fake" else [1.0, -0.0]):
        if action is not None:
            step = {"session_id": "s", "action": action, "observation": whole["latent"]}
            step["include"] = ["frame", "mixture"]
            assert (await client.post("/step", step)).status_code == 200
        snapshot = (await client.http.get("/sessions/s/snapshot")).json()
        script = through_javascript(snapshot)
        assert json.dumps(script) != json.dumps(snapshot)
        restored = await client.http.put("/sessions/js/snapshot", json=script)
        assert restored.status_code == 200, restored.text
        await client.post("/sessions/s/fork", {"session_ids": ["twin"]})
        ahead = {"action": 0 if world == "fake" else [0.5, 0.25]}
        one, other = [
            (await client.post("/step", {"session_id": name, **ahead})).json()
            for name in ("twin", "js")
        ]
        assert one["step"] == other["step"]
        assert one["latent"] == other["latent"]
        assert one["reward"] == other["reward"]


DAMAGE: list[dict[str, Any]] = [
    {"seed": 2},
    {"step": 2},
    {"temperature": 0.5},
    {"terminated": True},
    {"reward": 0.125},
    {"latent": [0.0] * 4},
    {"rewind_window": 1},
    {"digest": "0" * 64},
    {"world_version": "f" * 64},
    {"action": 2},
    {"last_step": None},
]


@pytest.mark.parametrize("damage", DAMAGE, ids=str)
async def test_a_damaged_snapshot_is_refused(client, damage) -> None:
    await client.reset(session_id="s", seed=1)
    step = {"session_id": "s", "action": 1, "observation": [0.5] * 4, "include": ["mixture"]}
    await client.post("/step", step)
    snapshot = (await client.http.get("/sessions/s/snapshot")).json()
    for form in (snapshot, through_javascript(snapshot)):
        refused = await client.http.put("/sessions/t/snapshot", json={**form, **damage})
        assert (refused.status_code, refused.json()["code"]) == (409, "snapshot_refused")
    assert (await client.http.get("/sessions/t")).status_code == 404


async def test_a_snapshot_with_a_longer_window_than_this_server_keeps_is_refused(serving) -> None:
    async with serving() as client:
        await client.reset(session_id="s", seed=1, rewind_window=9)
        snapshot = (await client.http.get("/sessions/s/snapshot")).json()
    async with serving(max_rewind=8, max_body_bytes=4096) as client:
        refused = await client.http.put("/sessions/s/snapshot", json=snapshot)
        assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
        refused = await client.http.put("/sessions/s/snapshot", json={"world": "x" * 5000})
        assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
