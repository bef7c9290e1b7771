"""Actions of every space, through every form of a request."""

from typing import Any

import numpy as np
import pytest

from dreamserve.backends.fake import SPACES
from dreamserve.engine.fake import fake_world

pytestmark = pytest.mark.anyio

NAMES = {"Discrete": "discrete", "Box": "box", "Box with odd bounds": "odd"} | {
    "MultiDiscrete": "several",
    "MultiBinary": "binary",
}
FORMS = ("json", "msgpack")
every_space = pytest.mark.parametrize("kind", SPACES)


@pytest.fixture
async def client(serving):
    """Return a client of a server with a world of every space."""
    worlds = [fake_world(name, space=SPACES[kind]) for kind, name in NAMES.items()]
    async with serving(*worlds) as client:
        yield client


def actions_of(kind: str, count: int) -> Any:
    space = SPACES[kind]
    return space.uniform(np.random.default_rng(3).random((count, *space.shape), np.float32))


@every_space
async def test_json_and_msgpack_and_batches_take_the_same_steps(client, content, kind):
    latents = []
    for form in FORMS:
        for batch in (False, True):
            await client.reset(session_id="a", world=NAMES[kind], seed=5)
            for action in actions_of(kind, 3):
                packed = form == "msgpack"
                path = "/step"
                fields = {"session_id": "a", "action": action if packed else action.tolist()}
                if batch:
                    rows = action[None] if packed else [action.tolist()]
                    path, fields = "/step/batch", {"session_ids": ["a"], "actions": rows}
                response = await client.post(path, fields, form=form)
                assert response.status_code == 200, response.text
            latents.append(content(response)["latents" if batch else "latent"].ravel())
    assert all(np.array_equal(np.float32(latents[0]), np.float32(one)) for one in latents)


@every_space
async def test_plans_samples_and_rollouts_return_actions_that_may_be_taken(client, content, kind):
    space, name = SPACES[kind], NAMES[kind]
    for form in FORMS:
        await client.reset(session_id="a", world=name, seed=5)
        asked = {"session_id": "a", "horizon": 3, "candidates": 20, "iterations": 3}
        plan = content(await client.post("/plan", {**asked, "planner": "icem"}, form=form))
        space.check(np.asarray(plan["actions"]), (3,))
        taken = plan["action"].tolist() if space.shape else plan["action"]
        response = await client.post("/step", {"session_id": "a", "action": taken})
        assert response.status_code == 200, response.text
        fields = {
            "session_id": "a",
            "futures": 2,
            "horizon": 3,
            "actions": plan["actions"].tolist(),
        }
        assert (await client.post("/sample", fields, form=form)).status_code == 200
        policies: list[Any] = [
            "random",
            {"kind": "constant", "action": taken},
            {"kind": "linear", "weights": np.ones((space.width, 8), np.float32).tolist()},
        ]
        for policy in policies:
            fields = {"world": name, "policy": policy, "episodes": 2, "max_steps": 4}
            response = await client.post(
                "/rollout", {**fields, "include": ["trajectories"]}, form=form
            )
            assert response.status_code == 200, response.text
            found = content(response)
            for actions, length in zip(found["actions"][0], found["lengths"][0], strict=True):
                space.check(np.array(actions)[:length], (length,))  # zeros follow the end


WRONG = [
    ("discrete", 3, "action 3 is not in Discrete(3): 0 back, 1 stay, 2 forth"),
    ("odd", [2.5, 0, 10], "torque = 2.5 is not in Box: torque in [-2, 2], gas in [0, 1]"),
    ("odd", [0, -0.1, 10], "gas = -0.1 is not in Box"),
    ("odd", [0, 0, 0], "current = 0 is not in Box"),
    (
        "several",
        [0, 2, 0, 0],
        "fire = 2 is not in MultiDiscrete([3, 2, 5, 2]): move (0 back, 1 stay",
    ),
    ("several", [0, 0.5, 0, 0], "must be integers of MultiDiscrete([3, 2, 5, 2])"),
    ("several", [0, 0], "shape [2]: must be [4], actions of MultiDiscrete"),
    ("binary", [0, 0, 2], "fire = 2 is not in MultiBinary(3): jump 0 or 1, duck 0 or 1"),
    ("binary", [[1, 0, 1]], "must be an integer or (A,) int64 or (A,) float32"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("world", "action", "detail"), WRONG)
async def test_an_action_outside_is_refused_with_what_would_be_right(
    client, world, action, detail, form
):
    await client.reset(session_id="a", world=world, seed=5)
    sent = np.array(action) if form == "msgpack" else action
    rollout = {"world": world, "policy": {"kind": "constant", "action": sent}}
    for path, fields in (
        ("/step", {"session_id": "a", "action": sent}),
        ("/rollout", {**rollout, "episodes": 1, "max_steps": 1}),
    ):
        response = await client.post(path, fields, form=form)
        problem = response.json()
        assert (response.status_code, problem["code"]) == (422, "invalid_action")
        assert detail in problem["detail"]
    rows = np.array([action]) if form == "msgpack" else [action]
    fields = {"session_ids": ["a"], "actions": rows}
    response = await client.post("/step/batch", fields, form=form)
    assert "invalid_action" in response.text
    assert (await client.http.get("/sessions/a")).json()["step"] == 0
