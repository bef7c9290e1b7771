"""OpenEnv's WebSocket: an episode a session, which ends with its socket."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from dreamserve.backends.fake import KINDS
from dreamserve.engine.fake import fake_world
from dreamserve_protocol.reset import StateInclude
from dreamserve_protocol.step import StepInclude

pytestmark = pytest.mark.anyio
PATIENCE_S = 30.0


class Env:
    """One socket, spoken to as OpenEnv's clients do."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def raw(self, frame: str | bytes) -> dict[str, Any]:
        await self.socket.send(frame)
        answer = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
        assert isinstance(answer, str)
        response: dict[str, Any] = orjson.loads(answer)
        assert response.keys() == {"type", "data"}
        return response

    async def ask(self, kind: str, **data: Any) -> dict[str, Any]:
        response = await self.raw(orjson.dumps({"type": kind, "data": data}).decode())
        assert response["type"] == ("state" if kind == "state" else "observation"), response
        return response["data"]


@asynccontextmanager
async def env_of(served: Any) -> AsyncIterator[Env]:
    url = f"ws://127.0.0.1:{served.port}/ws"
    async with connect(url, max_size=None, open_timeout=PATIENCE_S) as socket:
        yield Env(socket)


@pytest.fixture
async def env(server) -> AsyncIterator[Env]:
    async with env_of(server) as env:
        yield env


def http_of(served: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S)


async def gone(http: httpx.AsyncClient, session_id: str) -> None:
    """Wait until a session has ended, for a bounded time."""
    async with asyncio.timeout(PATIENCE_S):
        while (await http.get(f"/sessions/{session_id}")).status_code != 404:
            pass


async def test_an_episode_is_the_dream_of_reset_and_step(server, env):
    begun = await env.ask("reset", seed=7, temperature=0.5)
    stepped = [await env.ask("step", action=action) for action in (1, 2)]
    async with http_of(server) as http:
        wanted = {"session_id": "twin", "seed": 7, "temperature": 0.5}
        twin = (await http.post("/reset", json=wanted)).json()
        assert begun["observation"] == {"latent": twin["latent"]}
        assert (begun["reward"], begun["done"]) == (None, False)
        assert (begun["metadata"]["seed"], begun["metadata"]["step"]) == (7, 0)
        for number, (action, result) in enumerate(zip((1, 2), stepped, strict=True), start=1):
            fields = {"session_id": "twin", "action": action}
            twin = (await http.post("/step", json=fields)).json()
            assert result["observation"] == {"latent": twin["latent"]}
            assert (result["reward"], result["done"]) == (twin["reward"], twin["terminated"])
            assert (result["metadata"]["step"], result["metadata"]["info"]) == (number, {})


async def test_an_episode_may_have_frames_and_state(server, env):
    begun = await env.ask("reset", include=["frame", "state"])
    stepped = await env.ask("step", action=1)
    one = await env.ask("step", action=1, include=[])
    assert begun["observation"].keys() == stepped["observation"].keys()
    assert begun["observation"].keys() == {"latent", "frame", "state"}
    assert one["observation"].keys() == {"latent"}
    await env.ask("reset")
    assert (await env.ask("step", action=1))["observation"].keys() == {"latent"}


@pytest.mark.parametrize("seen", ["frame", "vector"])
async def test_all_that_can_be_included_is_observed(listening, seen):
    kinds = KINDS["signals"] | (KINDS["vector"] if seen == "vector" else {})
    absent = {"frame", "vector"} - {seen}
    with listening(fake_world(**kinds)) as served:
        async with env_of(served) as env:
            for kind, literal, fields in (
                ("reset", StateInclude, {}),
                ("step", StepInclude, {"action": 1}),
            ):
                include = sorted({*get_args(literal)} - absent)
                told = await env.ask(kind, include=include, **fields)
                assert told["observation"].keys() == {"latent", *include}


async def test_a_world_is_chosen_on_reset(env):
    begun = await env.ask("reset", world="box")
    assert begun["metadata"]["world"] == "box"
    assert (await env.ask("step", action=[0.5, 0.25], metadata={}))["metadata"]["step"] == 1


async def test_the_state_tells_of_the_episode(env):
    assert await env.ask("state") == {"episode_id": None, "step_count": 0}
    await env.ask("reset", episode_id="mine", seed=7)
    await env.ask("step", action=1)
    state = await env.ask("state")
    assert (state["episode_id"], state["step_count"], state["seed"]) == ("mine", 1, 7)
    session_id = state["session_id"]
    await env.ask("reset")
    state = await env.ask("state")
    assert (state["session_id"], state["step_count"]) == (session_id, 0)
    assert state["episode_id"] not in ("mine", None)


async def test_other_verbs_reach_the_session_by_its_id(server, env):
    session_id = (await env.ask("reset"))["metadata"]["session_id"]
    async with http_of(server) as http:
        plan = {"session_id": session_id, "horizon": 2}
        assert (await http.post("/plan", json=plan)).status_code == 200


async def test_the_session_ends_with_its_socket_however_that_closes(server):
    async with http_of(server) as http:
        for ending in ("close message", "close frame", "abort"):
            async with env_of(server) as env:
                session_id = (await env.ask("reset"))["metadata"]["session_id"]
                if ending == "close message":
                    await env.socket.send('{"type": "close"}')
                    with pytest.raises(ConnectionClosed) as closed:
                        await asyncio.wait_for(env.socket.recv(), PATIENCE_S)
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == 1000
                elif ending == "abort":
                    env.socket.transport.abort()
            await gone(http, session_id)


async def test_a_dream_that_ended_is_done_and_starts_over_by_reset(env):
    await env.ask("reset", seed=7)
    async with asyncio.timeout(PATIENCE_S):
        while not (await env.ask("step", action=2))["done"]:
            pass
    response = await env.raw('{"type": "step", "data": {"action": 2}}')
    assert (response["type"], response["data"]["code"]) == ("error", "dream_ended")
    assert (await env.ask("reset"))["done"] is False


async def test_an_episode_that_reaches_its_time_limit_is_done(env):
    await env.ask("reset", max_steps=1)
    stepped = await env.ask("step", action=1)
    assert (stepped["done"], stepped["metadata"]["truncated"]) == (True, True)


async def test_messages_sent_ahead_are_answered_in_order(env):
    await env.socket.send('{"type": "reset"}')
    for _ in range(500):
        await env.socket.send('{"type": "step", "data": {"action": 1}}')
    for number in range(501):
        answer = orjson.loads(await asyncio.wait_for(env.socket.recv(), PATIENCE_S))
        assert answer["data"].get("metadata", {"step": None})["step"] == number or (
            answer["data"]["code"] == "dream_ended"
        )


BAD: list[tuple[str | bytes, str, str]] = [
    ("{", "invalid_request", "the body is not JSON"),
    ("[]", "invalid_request", "must be an object, it is a list"),
    ("{}", "invalid_request", "type must be one of reset, step, state, close"),
    ('{"type": "mcp"}', "invalid_request", "type must be one of"),
    ('{"type": []}', "invalid_request", "type must be one of"),
    ('{"type": {}}', "invalid_request", "type must be one of"),
    ('{"type": "reset", "body": {}}', "invalid_request", "type and data, not ['body']"),
    ('{"type": "reset", "data": []}', "invalid_request", "data must be an object"),
    ('{"type": "reset", "data": null}', "invalid_request", "data must be an object"),
    ('{"type": "reset", "data": {"sed": 1}}', "invalid_request", "sed: is not a known field"),
    ('{"type": "reset", "data": {"seed": -1}}', "invalid_request", "seed"),
    ('{"type": "reset", "data": {"session_id": "a"}}', "invalid_request", "session of its own"),
    ('{"type": "reset", "data": {"episode_id": 1}}', "invalid_request", "episode_id must be"),
    ('{"type": "reset", "data": {"episode_id": ""}}', "invalid_request", "episode_id must be"),
    ('{"type": "reset", "data": {"world": "mars"}}', "world_not_found", "fake, box"),
    ('{"type": "state", "data": {"a": 1}}', "invalid_request", "state has no data"),
    ('{"type": "step"}', "invalid_request", "no episode has begun"),
    ('{"type": "step", "data": {"action": 1}}', "invalid_request", "no episode has begun"),
    (b"\x80", "invalid_request", "messages are JSON, in text frames"),
]


@pytest.mark.parametrize(("frame", "code", "said"), BAD)
async def test_a_bad_message_gets_an_error_and_the_socket_goes_on(env, frame, code, said):
    response = await env.raw(frame)
    assert response["type"] == "error"
    assert response["data"]["code"] == code
    assert said in response["data"]["message"]
    assert response["data"]["message"] == response["data"]["detail"]
    assert (await env.ask("reset"))["done"] is False


WRONG_STEPS = [
    ("{}", "invalid_request", "action: Field required"),
    ('{"action": 9}', "invalid_action", "action 9 is not in Discrete(3)"),
    ('{"action": NaN}', "not_finite", "numbers must be finite"),
    ('{"action": "1"}', "invalid_action", "action"),
    ('{"action": 1, "include": ["video"]}', "invalid_request", "include"),
    ('{"action": 1, "session_id": "other"}', "invalid_request", "session of its own"),
    ('{"action": 1, "step": 5}', "step_conflict", "step"),
]


@pytest.mark.parametrize(("data", "code", "said"), WRONG_STEPS)
async def test_a_bad_step_changes_nothing(env, data, code, said):
    await env.ask("reset")
    response = await env.raw(f'{{"type": "step", "data": {data}}}')
    assert (response["type"], response["data"]["code"]) == ("error", code)
    assert said in response["data"]["message"]
    assert (await env.ask("state"))["step_count"] == 0


async def test_a_message_that_is_too_large_closes_the_socket(listening):
    with listening(fake_world(), max_body_bytes=10_000) as served:
        async with env_of(served) as env:
            session_id = (await env.ask("reset"))["metadata"]["session_id"]
            await env.socket.send(" " * 10_001)
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(env.socket.recv(), PATIENCE_S)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        async with http_of(served) as http:
            await gone(http, session_id)


async def test_a_full_or_draining_server_begins_no_episode(listening):
    with listening(fake_world(), capacity=1) as served:
        async with env_of(served) as first, env_of(served) as second:
            await first.ask("reset")
            response = await second.raw('{"type": "reset"}')
            assert response["data"]["code"] == "overloaded"
            served.app.service.engine.drain()
            response = await second.raw('{"type": "reset"}')
            assert response["data"]["code"] == "draining"
            assert (await first.ask("step", action=1))["metadata"]["step"] == 1


VALUES = [None, True, -1, 0, 1, 2.5, "a", "frame", [], [1], {}, 2**64, {"action": 1}]
KEYS = ["action", "seed", "world", "include", "start", "step", "metadata", "episode_id", "more"]


def mutated(chance: random.Random) -> str | bytes:
    """Return a message with something changed."""
    data = {key: chance.choice(VALUES) for key in chance.sample(KEYS, chance.randrange(3))}
    kind = chance.choice(["reset", "step", "step", "step", "state", "fly"])
    if kind == "step" and chance.random() < 0.7:
        data = {"action": chance.randrange(-1, 4), **data}
    fields: dict[str, Any] = {"type": kind, "data": data}
    if chance.random() < 0.1:
        fields[chance.choice(["type", "data", "more"])] = chance.choice(VALUES[:-2])
    text = str(orjson.dumps(fields, default=str), "utf-8") if 2**64 not in data.values() else ""
    if chance.random() < 0.1:
        at = chance.randrange(len(text) + 1)
        text = text[:at] + chance.choice(["", "{", '"', "\u0000", "9"]) + text[at + 1 :]
    return text.encode() if chance.random() < 0.02 else text


async def test_thousands_of_mutated_messages_are_each_answered(server, caplog):
    chance, kinds = random.Random(7), list[str]()
    for _ in range(10):
        async with env_of(server) as env:
            for _ in range(300):
                response = await env.raw(mutated(chance))
                assert response["data"].get("status", 200) < 500, response
                kinds.append(response["type"])
    assert set(kinds) == {"observation", "state", "error"}
    assert kinds.count("observation") > 300
    assert not caplog.records


async def test_a_plain_get_is_told_that_it_is_a_websocket(server):
    async with http_of(server) as http:
        response = await http.get("/ws")
        assert response.status_code == 404
        assert "only available as a WebSocket" in response.json()["detail"]
