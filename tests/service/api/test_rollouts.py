"""/rollout in both forms, and the policies that /sample shares with it."""

import re
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.anyio
FORMS = ["json", "msgpack"]
FEATURES = 8
WEIGHTS = np.random.default_rng(0).standard_normal((2, 3, FEATURES)).astype(np.float32)
LINEAR = {"kind": "linear", "weights": WEIGHTS.tolist()}
FIELDS: dict[str, Any] = {"policy": "random", "episodes": 3, "max_steps": 5, "seed": 1}


def formed(form: str, array: np.ndarray) -> Any:
    return array if form == "msgpack" else array.tolist()


@pytest.mark.parametrize("form", FORMS)
async def test_many_policies_have_the_same_episodes(client, content, form) -> None:
    policy = {"kind": "linear", "weights": formed(form, WEIGHTS), "bias": [[0.0] * 3] * 2}
    rolled = content(await client.post("/rollout", {**FIELDS, "policy": policy}, form))
    assert rolled["world"] == "fake"
    assert rolled["temperature"] == 1.0
    assert rolled["seeds"].shape == (3,)
    for name in ("returns", "lengths", "terminated", "finite"):
        assert rolled[name].shape == (2, 3), name
    assert rolled["finite"].all()
    assert rolled["returns"].dtype == np.float64
    means = np.array(rolled["statistics"]["mean_return"])
    np.testing.assert_allclose(means, rolled["returns"].mean(axis=1))
    assert "latents" not in rolled


async def test_both_forms_carry_the_same_numbers(client, content) -> None:
    body = {**FIELDS, "policy": LINEAR, "include": ["trajectories"]}
    one, other = [content(await client.post("/rollout", body, form)) for form in FORMS]
    assert one.keys() == other.keys()
    for name in ("returns", "lengths", "seeds", "actions", "terminated"):
        np.testing.assert_array_equal(one[name], other[name])
    for name in ("latents", "rewards"):
        np.testing.assert_array_equal(one[name].astype(np.float32), other[name])


@pytest.mark.parametrize("world", ["fake", "box"])
async def test_a_session_reset_with_an_episodes_seed_dreams_the_episode(
    client, content, world
) -> None:
    body = {**FIELDS, "world": world, "start": {"bank": 2}, "include": ["trajectories"]}
    rolled = content(await client.post("/rollout", body))
    for e, seed in enumerate(rolled["seeds"].tolist()):
        start = await client.reset(session_id="s", world=world, seed=seed, start={"bank": 2})
        assert start["latent"] == rolled["latents"][0, e, 0].tolist()
        for t in range(rolled["lengths"][0, e]):
            fields = {"session_id": "s", "action": rolled["actions"][0, e, t].tolist()}
            stepped = (await client.post("/step", fields)).json()
            assert stepped["latent"] == rolled["latents"][0, e, t + 1].tolist()
            assert np.float32(stepped["reward"]) == np.float32(rolled["rewards"][0, e, t])


async def test_episodes_of_a_session_start_at_its_state_and_do_not_change_it(client) -> None:
    await client.reset(session_id="s", seed=1, temperature=0.5)
    first = (await client.post("/rollout", {**FIELDS, "seed": None, "session_id": "s"})).json()
    again = (await client.post("/rollout", {**FIELDS, "seed": None, "session_id": "s"})).json()
    assert first == again
    assert first["temperature"] == 0.5
    assert (await client.http.get("/sessions/s")).json()["step"] == 0


async def test_a_policy_with_nan_weights_affects_no_other(client, content) -> None:
    weights = WEIGHTS.copy()
    weights[0, 1, 3] = np.nan
    body = {**FIELDS, "policy": {"kind": "linear", "weights": weights}}
    rolled = content(await client.post("/rollout", body, "msgpack"))
    assert rolled["finite"].tolist() == [[False] * 3, [True] * 3]
    statistics = rolled["statistics"]
    assert statistics["episodes"].tolist() == [0, 3]
    assert np.isnan(statistics["mean_return"]).tolist() == [True, False]
    huge = np.full_like(WEIGHTS, 3e38)
    huge[:, :, ::2] *= -1
    body = {**FIELDS, "policy": {"kind": "linear", "weights": huge.tolist()}}
    answer = (await client.post("/rollout", body)).json()
    lost = [mean is None for mean in answer["statistics"]["mean_return"]]
    assert lost == [not any(row) for row in answer["finite"]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "policy", ["random", {"kind": "random"}, {"kind": "constant", "action": 2}, LINEAR]
)
async def test_a_sample_acts_by_a_policy(client, content, form, policy) -> None:
    if policy is LINEAR:
        policy = {**LINEAR, "weights": formed(form, WEIGHTS[0])}
    body = {"start": {"bank": 1}, "futures": 4, "horizon": 3, "seed": 5}
    sampled = content(await client.post("/sample", {**body, "policy": policy}, form))
    assert sampled["latents"].shape == (4, 3, 4)
    actions = {"random": None, "constant": [2, 2, 2], "linear": None}
    kind = policy if isinstance(policy, str) else policy["kind"]
    if kind == "linear":
        return
    same = content(await client.post("/sample", {**body, "actions": actions[kind]}, form))
    np.testing.assert_array_equal(sampled["latents"], same["latents"])


BAD = [
    ({"policy": "best"}, 422, "policy: kind must be one of random"),
    ({"policy": {"kind": "linear"}}, 422, "^policy.weights: Field required"),
    ({"policy": {"kind": "random", "seed": 1}}, 422, "^policy.seed: is not a known field"),
    (
        {"policy": {"kind": "linear", "weights": [1.0]}},
        422,
        r"\(A, F\) float32 or \(P, A, F\) float32, it has shape \[1\]",
    ),
    ({"policy": {"kind": "linear", "weights": [[1.0]]}}, 422, r"weights must be \[3, 8\]"),
    ({"policy": {**LINEAR, "bias": [0.0]}}, 422, "need a bias of shape"),
    ({"policy": {**LINEAR, "inputs": ["h"]}}, 422, r"inputs must be some of \['latent', 'memory"),
    ({"policy": {"kind": "constant", "action": 3}}, 422, "action 3 is not in Discrete"),
    ({"policy": "bundled"}, 422, "fake has no bundled controller; give another policy"),
    ({"episodes": None}, 422, "give exactly one of episodes and seeds"),
    ({"seeds": [1, 2, 3]}, 422, "give exactly one of episodes and seeds"),
    ({"episodes": None, "seeds": [1]}, 422, "give seed or seeds"),
    ({"max_steps": 0}, 422, "max_steps: "),
    ({"session_id": "s", "world": "fake"}, 422, "not both"),
    ({"session_id": "none"}, 404, "no session none"),
    ({"world": "mars"}, 404, "no world 'mars'"),
    (
        {"episodes": 7, "max_steps": 15},
        413,
        "policies 1 x episodes 7 x max_steps 15 is 105 dreamt steps.* 100",
    ),
    (
        {"policy": LINEAR, "episodes": 10, "max_steps": 6},
        413,
        "policies 2 x episodes 10 x max_steps 6 is 120",
    ),
    ({"episodes": 11, "max_steps": 1}, 413, "11 episodes of a policy, the limit is 10"),
]


@pytest.mark.parametrize(("fields", "status", "message"), BAD)
async def test_an_invalid_request_is_refused(serving, fields, status, message) -> None:
    async with serving(max_dreamt_steps=100, max_rows=10) as client:
        body = {name: value for name, value in {**FIELDS, **fields}.items() if value is not None}
        response = await client.post("/rollout", body)
        assert response.status_code == status, response.text
        detail = response.json()["detail"]
        assert re.search(message, detail), detail
