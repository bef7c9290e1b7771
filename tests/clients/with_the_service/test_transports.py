"""The same dreams over every transport, in every encoding, by both clients."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

import dreamserve_client as sdk
from dreamserve.engine.fake import fake_world
from dreamserve.local import LocalClient
from dreamserve_protocol.markers import Message
from dreamserve_protocol.wire import fields_of

SHAPE = sdk.DreamClient(transport=sdk.InProcess(fake_world())).world("fake").frame_shape
WAYS = {
    "http": {},
    "http, JSON": {"encoding": "json"},
    "stream": {"transport": "stream"},
    "stream, JSON": {"transport": "stream", "encoding": "json"},
}


@pytest.fixture(params=[*WAYS, "in process"])
def client(request, url) -> Iterator[sdk.DreamClient]:
    if request.param == "in process":
        with sdk.DreamClient(transport=sdk.InProcess(fake_world())) as client:
            yield client
    else:
        with sdk.DreamClient(url, **WAYS[request.param]) as client:
            yield client


def plain(value):
    """Return a result as JSON has it, without what is never the same."""
    if isinstance(value, Message):
        value = fields_of(value)
    if isinstance(value, dict):
        return {
            name: plain(one)
            for name, one in value.items()
            if name not in {"elapsed_ms", "age_s", "idle_s", "request_id", "version"}
        }
    if isinstance(value, list | np.ndarray | np.generic):
        return [plain(one) for one in value] if np.ndim(value) else plain(value.item())
    return float(np.float32(value)) if isinstance(value, float) else value


Calls = list[Callable[[sdk.DreamClient], object]]


def tour(name: str) -> Calls:
    """Return calls of every verb, for sessions whose names begin with `name`."""
    one, two = f"{name}-1", f"{name}-2"
    observed = np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)
    linear = sdk.LinearPolicy(np.zeros((2, 3, 4), np.float32), inputs=["latent"])
    kept: list[dict] = []
    return [
        lambda c: c.worlds(),
        lambda c: c.world("fake"),
        lambda c: c.reset(session_id=one, seed=7, rewind_window=4, include=["frame", "state"]),
        lambda c: c.step(one, 1, include=["frame", "mixture"]),
        lambda c: c.step(one, np.int64(2), observation=observed),
        lambda c: c.step(one, 0, observation=np.zeros(4)),
        lambda c: c.sample(one, futures=3, horizon=2, seed=1, include=["mixture", "components"]),
        lambda c: c.plan(one, planner="cem", horizon=3, candidates=8, seed=1),
        lambda c: c.rollout(policy=linear, max_steps=3, seeds=[1, 2]),
        lambda c: c.fork(one, session_ids=[two]),
        lambda c: c.rewind(one, steps=2),
        lambda c: c.snapshot(one),
        lambda c: kept.append(c.snapshot(two)),
        lambda c: c.restore(json.loads(json.dumps(kept[0])), one),
        lambda c: c.session(one),
        lambda c: c.reset_batch(session_ids=[one, two], seeds=np.array([1, 2])),
        lambda c: c.step_batch([one, two], [1, 99]),
        lambda c: c.step_batch(
            [one, two], [1, 0], observations=[observed, observed], include=["frame", "state"]
        ),
        lambda c: c.reset_batch(session_ids=[one, two], seeds=[1, 2], max_steps=1),
        lambda c: c.step_batch([one, two], [1, 0], on_end="restart", include=["frame"]),
        lambda c: c.delete(one),
        lambda c: c.delete_batch([one, two]),
    ]


def results(client: sdk.DreamClient, name: str) -> list:
    return [plain(call(client)) for call in tour(name)]


def test_every_verb_gives_the_same_result_over_every_transport(client):
    expected = results(sdk.DreamClient(transport=sdk.InProcess(fake_world())), "tour")
    assert len({*WAYS}) == 4
    assert results(client, "tour") == expected


def test_errors_are_of_the_same_class_and_say_the_same(client):
    seen = []
    for call in (
        lambda: client.step("nobody", 1),
        lambda: client.world("nowhere"),
        lambda: client.reset(session_id="a b"),
        lambda: client.reset(seed=-1),
        lambda: client.dream().step(99),
        lambda: client.reset(start=sdk.Start(latent=[2e6, 0, 0, 0])),
    ):
        with pytest.raises(sdk.ProblemError) as raised:
            call()
        seen.append((type(raised.value), raised.value.status, raised.value.detail))
    assert [kind for kind, *_ in seen] == [
        sdk.SessionNotFoundError,
        sdk.WorldNotFoundError,
        sdk.InvalidRequestError,
        sdk.InvalidRequestError,
        sdk.InvalidActionError,
        sdk.NotFiniteInputError,
    ]
    local = sdk.DreamClient(transport=sdk.InProcess(fake_world()))
    with pytest.raises(sdk.InvalidActionError) as raised:
        local.dream().step(99)
    assert seen[4][2] == raised.value.detail


def test_numbers_of_numpy_are_numbers_over_every_transport(client):
    eight, one = np.int64(8), np.uint8(1)
    start = sdk.Start(bank=np.int32(3))
    heat = np.float32(0.5)
    begun = client.reset(session_id="n", seed=one, temperature=heat, max_steps=eight, start=start)
    same = client.reset(seed=1, temperature=0.5, start=sdk.Start(bank=3))
    np.testing.assert_array_equal(begun.latent, same.latent)
    client.reset(session_id="n", rewind_window=eight, start=sdk.Start(age=np.array(3)))
    assert client.step("n", one, step=one).step == 1
    planned = {"candidates": eight, "seed": one, "planner": "cem", "discount": heat}
    goal = sdk.Objective(reward=np.float16(2))
    options = {"elite_share": heat}
    plan = client.plan("n", horizon=np.int16(2), objective=goal, options=options, **planned)
    assert plan.actions.shape == (2,)
    assert client.sample("n", futures=eight, horizon=np.array(2)).latents.shape[:2] == (8, 2)
    assert client.rollout(policy="random", episodes=one, max_steps=eight).returns.shape == (1, 1)
    assert client.rewind("n", steps=np.int64(1)).step == 0
    for wrong in (np.bool_(True), np.float32(1.5), np.array([1])):
        with pytest.raises(sdk.InvalidRequestError, match="seed"):
            client.reset(seed=wrong)


def test_threads_share_a_client(client):
    def latents(seed: int) -> list:
        with client.dream(seed=seed) as dream:
            return [dream.step(action).latent.tolist() for action in (0, 1, 2, 1)]

    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(latents, range(16)))
    assert together == [latents(seed) for seed in range(16)]


@pytest.mark.parametrize("way", [*WAYS, "in process"])
def test_the_async_client_dreams_the_same_over_every_transport(url, way):
    async def latents():
        async with (
            sdk.AsyncDreamClient(transport=sdk.AsyncInProcess(fake_world()))
            if way == "in process"
            else sdk.AsyncDreamClient(url, **WAYS[way])
        ) as client:
            dreams = await asyncio.gather(*(client.dream(seed=seed) for seed in range(8)))
            steps = await asyncio.gather(*(dream.step(1) for dream in dreams))
            await asyncio.gather(*(dream.close() for dream in dreams))
            return [step.latent.tolist() for step in steps]

    with sdk.DreamClient(transport=sdk.InProcess(fake_world())) as local:
        expected = [local.dream(seed=seed).step(1).latent.tolist() for seed in range(8)]
    assert asyncio.run(latents()) == expected


def test_a_client_may_share_what_runs_in_process():
    local = LocalClient(fake_world())
    sdk.DreamClient(transport=sdk.InProcess(local)).reset(session_id="a")
    with sdk.DreamClient(transport=sdk.InProcess(local)) as other:
        assert other.session("a").step == 0
    assert local.session("a").step == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_request_beyond_the_servers_bounds_is_refused_and_others_go_on(listening, way):
    with (
        listening(max_body_bytes=100_000) as served,
        sdk.DreamClient(served.url, **WAYS[way], max_retries=0) as client,
    ):
        with pytest.raises(sdk.TooLargeError):
            client.reset(start=sdk.Start(latent=np.zeros(200_000, np.float32)))
        assert client.dream().step(1).step == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_request_of_too_many_elements_is_refused(url, way):
    with sdk.DreamClient(url, **WAYS[way], max_retries=0) as client:
        with pytest.raises(sdk.TooLargeError, match="elements"):
            client.reset(start=sdk.Start(latent=[0.5] * 2_000_001))
        with pytest.raises(sdk.TooLargeError, match="dreamt steps"):
            client.sample(start=sdk.Start(bank=0), futures=100_000, horizon=100_000)
        assert client.dream().step(1).step == 1


def test_what_is_no_stream_is_said(url):
    with (
        sdk.DreamClient(f"{url}/elsewhere", transport="stream", max_retries=0) as client,
        pytest.raises((sdk.ProblemError, sdk.ProtocolError), match="elsewhere"),
    ):
        client.worlds()


@pytest.mark.parametrize("transport", ["http", "stream"])
def test_an_async_client_in_another_event_loop_says_so_at_once(url, transport):
    client = sdk.AsyncDreamClient(url, transport=transport)

    async def call():
        return await client.worlds()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(call())
        for run in (call(), client.close()):
            with pytest.raises(sdk.ClosedError, match="belongs to another event loop"):
                second.run(run)
        first.run(call())
        first.run(client.close())


def test_an_async_http_client_of_your_own_belongs_to_one_event_loop_too(url):
    async def call():
        return await client.worlds()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        http = httpx.AsyncClient()
        client = sdk.AsyncDreamClient(url, http_client=http)
        first.run(call())
        with pytest.raises(sdk.ClosedError, match="belongs to another event loop"):
            second.run(call())
        first.run(http.aclose())
