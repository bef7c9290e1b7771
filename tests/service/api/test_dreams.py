"""/reset, /step, /sample, /plan in both forms."""

import json

import numpy as np
import pytest

from dreamserve.planning.catalog import PLANNERS

INFO = {"surprise", "expected_surprise", "predicted_terminated", "end_probability"}
pytestmark = pytest.mark.anyio
FORMS = ["json", "msgpack"]


@pytest.mark.parametrize("form", FORMS)
async def test_a_dream_starts_and_advances(client, content, form) -> None:
    reset = await client.post("/reset", {"session_id": "dream", "seed": 7}, form)
    assert reset.status_code == 200
    result = content(reset)
    assert (result["session_id"], result["world"], result["step"]) == ("dream", "fake", 0)
    assert (result["seed"], result["temperature"]) == (7, 1.0)
    assert result["latent"].shape == (4,)
    assert result.keys() == {"session_id", "world", "step", "latent", "seed", "temperature"}

    for number in (1, 2):
        fields = {"session_id": "dream", "action": 1, "step": number}
        stepped = content(await client.post("/step", fields, form))
        assert (stepped["session_id"], stepped["step"]) == ("dream", number)
        assert stepped["latent"].shape == (4,)
        assert isinstance(stepped["reward"], float)
        assert stepped["terminated"] is False
        assert stepped["truncated"] is False
        assert stepped["info"] == {}
        assert "frame" not in stepped


async def test_both_forms_carry_the_same_bits(client, content) -> None:
    answers = []
    for form in FORMS:
        await client.post("/reset", {"session_id": form, "seed": 3}, form)
        fields = {"session_id": form, "action": 2, "include": ["frame", "mixture", "state"]}
        answers.append(content(await client.post("/step", fields, form)))
    as_json, as_msgpack = answers
    assert as_json.keys() == as_msgpack.keys()
    assert np.array_equal(as_json["latent"].astype(np.float32), as_msgpack["latent"])
    assert np.array_equal(as_json["frame"], as_msgpack["frame"])
    assert as_msgpack["frame"].dtype == np.uint8
    assert as_json["reward"] == as_msgpack["reward"]
    for part in ("mixture", "state"):
        assert as_json[part].keys() == as_msgpack[part].keys()
        for name, tensor in as_msgpack[part].items():
            assert np.array_equal(np.array(as_json[part][name], np.float32), tensor)


async def test_json_may_be_answered_in_msgpack_and_the_other_way_round(client) -> None:
    response = await client.post("/reset", {}, accept="application/msgpack")
    assert response.headers["content-type"] == "application/msgpack"
    response = await client.post("/reset", {}, "msgpack", accept="application/json")
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("form", FORMS)
async def test_an_action_of_a_box_world_is_a_list_or_an_array(client, content, form) -> None:
    await client.post("/reset", {"session_id": "s", "world": "box", "seed": 1}, form)
    action = [0.5, -0.25] if form == "json" else np.array([0.5, -0.25], np.float32)
    stepped = await client.post("/step", {"session_id": "s", "action": action}, form)
    assert stepped.status_code == 200
    assert content(stepped)["step"] == 1


async def test_a_repeated_step_has_the_same_result_and_is_taken_once(client) -> None:
    await client.reset(session_id="s", seed=1)
    fields = {"session_id": "s", "action": 1, "step": 1}
    first = await client.post("/step", fields)
    again = await client.post("/step", fields)
    assert first.content == again.content
    info = (await client.http.get("/sessions/s")).json()
    assert info["step"] == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "start",
    [
        {"bank": 3},
        {"latent": np.zeros(4, np.float32)},
        {"frames": np.zeros((1, 8, 8, 3), np.uint8)},
        {"frames": np.zeros((3, 8, 8, 3), np.uint8), "actions": np.array([0, 1])},
        {"frames": np.zeros((1, 16, 24, 3), np.uint8)},
    ],
    ids=["bank", "latent", "frame", "context", "camera"],
)
async def test_a_dream_starts_where_the_request_says(client, content, form, start) -> None:
    if form == "json":
        start = json.loads(json.dumps(start, default=lambda array: array.tolist()))
    answers = [
        content(await client.post("/reset", {"seed": 5, "start": start}, form)) for _ in range(2)
    ]
    assert np.array_equal(answers[0]["latent"], answers[1]["latent"])


@pytest.mark.parametrize("form", FORMS)
async def test_an_observation_corrects_the_dream_and_returns_the_surprise(
    client, content, form
) -> None:
    await client.reset(session_id="s", seed=1)
    fields = {"session_id": "s", "action": 1, "observation": [0.25, 0.5, -0.25, 0.0]}
    stepped = content(await client.post("/step", fields, form))
    assert stepped["latent"].tolist() == [0.25, 0.5, -0.25, 0.0]
    assert stepped["info"].keys() == INFO
    assert stepped["info"]["predicted_terminated"] is False
    assert stepped["terminated"] is False
    frame = np.full((8, 8, 3), 128, np.uint8)
    fields["observation"] = frame.tolist() if form == "json" else frame
    stepped = content(await client.post("/step", fields, form))
    assert stepped["step"] == 2


@pytest.mark.parametrize("form", FORMS)
async def test_trajectories_are_sampled_without_changing_the_session(client, content, form) -> None:
    await client.reset(session_id="s", seed=1)
    fields = {"session_id": "s", "futures": 3, "horizon": 5, "include": ["frames"]}
    sampled = content(await client.post("/sample", fields, form))
    assert sampled["latents"].shape == (3, 5, 4)
    assert sampled["rewards"].shape == (3, 5)
    assert sampled["terminated"].shape == (3, 5)
    assert sampled["terminated"].dtype == np.bool_
    assert sampled["frames"].shape == (3, 5, 8, 8, 3)
    assert (await client.http.get("/sessions/s")).json()["step"] == 0


@pytest.mark.parametrize("form", FORMS)
async def test_sampling_from_a_start_needs_no_session(client, content, form) -> None:
    fields = {
        "world": "box",
        "start": {"bank": 0},
        "futures": 2,
        "horizon": 3,
        "actions": [[0.1, 0.1]] * 3,
        "seed": 4,
        "temperature": 0.5,
    }
    sampled = content(await client.post("/sample", fields, form))
    assert sampled["latents"].shape == (2, 3, 4)


@pytest.mark.parametrize("form", FORMS)
async def test_a_sample_can_include_mixtures_and_deterministic_trajectories(
    client, content, form
) -> None:
    await client.reset(session_id="s", seed=1)
    include = ["frames", "mixture", "entropy", "most_likely", "components"]
    fields = {"session_id": "s", "futures": 3, "horizon": 5, "include": include}
    sampled = content(await client.post("/sample", fields, form))
    shapes = {
        "mixture": {"weights": (3, 5, 2), "mu": (3, 5, 2, 4), "sigma": (3, 5, 2, 4)},
        "most_likely": {
            "latents": (5, 4),
            "rewards": (5,),
            "terminated": (5,),
            "frames": (5, 8, 8, 3),
        },
        "components": {
            "weights": (2,),
            "order": (2,),
            "latents": (2, 5, 4),
            "rewards": (2, 5),
            "terminated": (2, 5),
            "frames": (2, 5, 8, 8, 3),
        },
    }
    for name, parts in shapes.items():
        assert {part: np.shape(array) for part, array in sampled[name].items()} == parts
    assert sampled["entropy"].shape == sampled["differential_entropy"].shape == (3, 5)
    assert np.array_equal(sampled["components"]["latents"][0], sampled["most_likely"]["latents"])


@pytest.mark.parametrize("part", ["mixture", "entropy", "most_likely", "components"])
async def test_a_sample_returns_only_what_was_requested(client, part) -> None:
    await client.reset(session_id="s", seed=1)
    fields = {"session_id": "s", "futures": 1, "horizon": 1, "include": [part]}
    more = {"differential_entropy"} if part == "entropy" else set()
    sampled = (await client.post("/sample", fields)).json()
    assert sampled.keys() == {"latents", "rewards", "terminated", part, *more}
    assert "frames" not in sampled.get("components", sampled.get("most_likely", {}))


async def test_a_large_mixture_is_encoded_outside_the_event_loop(client, monkeypatch) -> None:
    written = []

    async def noting(function):
        written.append(function)
        return function()

    await client.reset(session_id="s", seed=1)
    monkeypatch.setattr(client.app.service, "aside", noting)
    fields = {"session_id": "s", "futures": 100, "horizon": 50}
    await client.post("/sample", fields)
    assert not written
    await client.post("/sample", {**fields, "include": ["mixture"]})
    assert len(written) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("planner", ["random_shooting", "cem", "icem", "mppi"])
@pytest.mark.parametrize("world", ["fake", "box"])
async def test_a_plan_returns_actions_and_does_not_change_the_session(
    client, content, form, planner, world
) -> None:
    await client.reset(session_id="s", seed=1, world=world)
    fields = {"session_id": "s", "planner": planner, "horizon": 8, "candidates": 32}
    planned = content(await client.post("/plan", fields, form))
    assert planned["planner"] == planner
    assert len(planned["actions"]) == 8
    assert np.array_equal(planned["action"], planned["actions"][0])
    assert planned["iterations"] == getattr(PLANNERS[planner].options(), "iterations", 1)
    assert planned["elapsed_ms"] > 0
    assert planned["cut_short"] is False
    stepped = await client.post(
        "/step", {"session_id": "s", "action": np.array(planned["action"]).tolist()}
    )
    assert stepped.json()["step"] == 1


@pytest.mark.parametrize("form", FORMS)
async def test_a_plan_accepts_all_of_its_fields(client, content, form) -> None:
    await client.reset(session_id="s", seed=1, world="box")
    fields = {
        "session_id": "s",
        "planner": "icem",
        "horizon": 3,
        "candidates": 20,
        "iterations": 2,
        "options": {"noise_beta": 2.0, "decay": 1.0},
        "particles": 2,
        "action_repeat": 2,
        "objective": {"reward": 1.0, "survival": 0.5, "target": np.zeros(4, np.float32)},
        "discount": 0.9,
        "temperature": 0.5,
        "warm_start": False,
        "seed": 3,
    }
    if form == "json":
        fields["objective"]["target"] = [0.0] * 4
    first = content(await client.post("/plan", fields, form))
    again = content(await client.post("/plan", fields, form))
    assert first["evaluations"] == 41  # with the last mean
    assert np.array_equal(first["actions"], again["actions"])
    assert first["value"] == again["value"]


async def test_a_plan_keeps_its_budget(client) -> None:
    await client.reset(session_id="s", seed=1)
    fields = {"session_id": "s", "horizon": 50, "candidates": 600, "budget_ms": 30}
    planned = (await client.post("/plan", fields)).json()
    assert planned["cut_short"] is True
    assert planned["elapsed_ms"] < 3000  # 30 on an idle machine
    assert len(planned["actions"]) == 50


async def test_a_plan_whose_one_candidate_is_over_its_budget_is_cut_short(client) -> None:
    await client.reset(session_id="a")
    fields = {
        "session_id": "a",
        "horizon": 1,
        "candidates": 1,
        "iterations": 1,
        "particles": 60_000,
        "budget_ms": 10,
    }
    planned = await client.post("/plan", fields)
    assert planned.status_code == 200, planned.text
    assert planned.json()["cut_short"] is True
    assert len(planned.json()["actions"]) == 1


BAD_PLANS = [
    ({"options": {"candidates": 0}}, "candidates must be at least 1, not 0"),
    ({"options": {"candidates": 1.5}}, "candidates must be an integer, not 1.5"),
    ({"options": {"nose": 1.0}}, "cem has the options"),
    ({"options": {"momentum": 2.0}}, "momentum must be within 0 and 1, not 2"),
    ({"objective": {}}, "no weight other than 0"),
    (
        {"objective": {"target": [0.0]}},
        "objective.target must be numbers of shape [4], not float32 [1]",
    ),
    ({"budget_ms": 0}, "budget_ms"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_PLANS)
async def test_an_invalid_plan_is_refused_with_what_is_valid(client, fields, message) -> None:
    await client.reset(session_id="s", seed=1)
    response = await client.post("/plan", {"session_id": "s", **fields})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert message in response.json()["detail"]


async def test_a_session_is_described_and_deleted(client) -> None:
    await client.reset(session_id="s", seed=9, temperature=0.5)
    described = (await client.http.get("/sessions/s")).json()
    assert described["session_id"] == "s"
    assert (described["world"], described["step"], described["seed"]) == ("fake", 0, 9)
    assert (described["temperature"], described["terminated"]) == (0.5, False)
    assert described["idle_s"] >= 0
    ended = await client.http.delete("/sessions/s")
    assert (ended.status_code, ended.content) == (204, b"")
    assert "content-length" not in ended.headers  # RFC 9110, 8.6
    assert (await client.http.get("/sessions/s")).status_code == 404


async def test_the_header_stands_in_for_a_body_without_a_session(client) -> None:
    header = {"x-session-id": "from-header"}
    result = await client.http.post("/reset", json={"seed": 1}, headers=header)
    assert result.json()["session_id"] == "from-header"
    stepped = await client.http.post("/step", json={"action": 0}, headers=header)
    assert stepped.json()["step"] == 1
    same = {"session_id": "from-header", "action": 0}
    assert (await client.http.post("/step", json=same, headers=header)).status_code == 200


async def test_worlds_are_listed_and_described(client, content) -> None:
    listed = (await client.http.get("/worlds")).json()["worlds"]
    assert [world["name"] for world in listed] == ["fake", "box"]
    described = (await client.http.get("/worlds/fake")).json()
    assert described["action_names"] == ["back", "stay", "forth"]
    assert described["action_space"]["n"] == 3
    assert (described["latent_size"], described["frame_shape"]) == (4, [8, 8, 3])
    assert described["manifest"]["noise"] == {"normal": 4, "uniform": 1}
    assert {name: described[name] for name in listed[0]} == listed[0]
    answer = await client.http.get("/worlds/fake", headers={"accept": "application/msgpack"})
    assert content(answer) == described


async def test_the_root_lists_the_pages(client) -> None:
    places = (await client.http.get("/")).json()
    assert places["name"] == "dreamserve"
    for place in ("docs", "openapi", "worlds", "ready"):
        assert (await client.http.get(places[place])).status_code == 200
