"""What the SDK sends and how it reads what comes back."""

import re

import httpx
import numpy as np
import pytest

from dreamserve_client import DreamClient, ProtocolError


def test_a_reset_says_what_was_asked_for_and_leaves_the_rest_to_the_server(fake):
    server = fake(fake.ok(fake.RESET))
    server.client().reset("pong", seed=7, start={"latent": np.array([0.5, -0.25], np.float32)})
    sent = server.body()
    assert re.fullmatch(r"[0-9a-f]{32}", sent.pop("session_id"))
    assert sent == {"world": "pong", "seed": 7, "start": {"latent": [0.5, -0.25]}}


def test_each_reset_without_an_id_chooses_another_one_and_sends_it_in_the_header_too(fake):
    server = fake(fake.ok(fake.RESET))
    client = server.client()
    client.reset()
    client.reset()
    ids = [server.body(i)["session_id"] for i in range(2)]
    assert ids[0] != ids[1]
    assert [request.headers["x-session-id"] for request in server.requests] == ids


def test_every_call_about_a_session_carries_its_id_in_the_header(fake):
    plan = {
        "action": 1,
        "actions": [1, 0],
        "value": 2.0,
        "planner": "cem",
        "iterations": 4,
        "evaluations": 9,
        "elapsed_ms": 3.5,
        "cut_short": False,
    }
    sample = {"latents": [[[0.0, 1.0]]], "rewards": [[1.0]], "terminated": [[True]]}
    server = fake(fake.ok(fake.STEP), fake.ok(plan), fake.ok(sample), fake.ok(fake.SESSION))
    client = server.client()
    client.step("s1", 1)
    client.plan("s1")
    client.sample("s1", futures=1, horizon=1)
    client.session("s1")
    client.delete("s1")
    assert [request.headers.get("x-session-id") for request in server.requests] == ["s1"] * 5


def test_a_reset_is_read_into_numbers_and_arrays(fake):
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    state = {"h": [0.25, 0.5]}
    server = fake(fake.ok(fake.RESET, frame=frame.tolist(), state=state, later="unknown"))
    answer = server.client().reset(include=["frame", "state"])
    assert (answer.session_id, answer.world, answer.step, answer.seed) == ("s1", "pong", 0, 7)
    assert answer.latent.dtype == np.float32
    np.testing.assert_array_equal(answer.latent, [0.5, -0.25])
    assert answer.frame.dtype == np.uint8
    np.testing.assert_array_equal(answer.frame, frame)
    np.testing.assert_array_equal(answer.state["h"], [0.25, 0.5])
    assert server.body()["include"] == ["frame", "state"]


def test_a_step_is_read_with_its_mixture_and_its_surprise(fake):
    mixture = {"weights": [0.5, 0.5], "mu": [[0.0, 1.0], [2.0, 3.0]], "sigma": [[1.0, 1.0]] * 2}
    info = {"surprise": 1.5, "expected_surprise": 0.9}
    server = fake(fake.ok(fake.STEP, mixture=mixture, info=info, terminated=True))
    answer = server.client().step("s1", 1, observation=np.zeros(2, np.float32))
    assert (answer.step, answer.reward, answer.terminated, answer.truncated) == (
        1,
        1.0,
        True,
        False,
    )
    assert answer.info == info
    assert answer.mixture.weights.shape == (2,)
    assert answer.mixture.mu.dtype == np.float32
    assert server.body()["observation"] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("action", "sent"),
    [
        (1, 1),
        (np.int64(2), 2),
        ([0.5, -1.0], [0.5, -1.0]),
        (np.array([0.5, -1.0], np.float32), [0.5, -1.0]),
    ],
)
def test_an_action_may_be_a_number_a_list_or_an_array(fake, action, sent):
    server = fake(fake.ok(fake.STEP))
    server.client().step("s1", action)
    assert server.body() == {"session_id": "s1", "action": sent}


@pytest.mark.parametrize(
    ("action", "actions", "dtype"),
    [(1, [1, 0, 2], np.int64), ([0.5, 1.0], [[0.5, 1.0], [0.0, 0.0]], np.float32)],
)
def test_a_plan_has_integers_in_a_discrete_world_and_floats_in_a_box_world(
    fake, action, actions, dtype
):
    fields = {
        "action": action,
        "actions": actions,
        "value": 2.0,
        "planner": "cem",
        "iterations": 4,
        "evaluations": 9,
        "elapsed_ms": 3.5,
        "cut_short": False,
    }
    answer = fake(fake.ok(fields)).client().plan("s1", horizon=3)
    assert answer.actions.dtype == dtype
    np.testing.assert_array_equal(answer.actions, actions)
    np.testing.assert_array_equal(answer.action, action)
    assert answer.cut_short is False


def test_a_sample_has_futures_first(fake):
    fields = {
        "latents": np.zeros((2, 3, 4)).tolist(),
        "rewards": [[1.0] * 3] * 2,
        "terminated": [[False, False, True]] * 2,
        "frames": np.zeros((2, 3, 2, 2, 3), int).tolist(),
    }
    server = fake(fake.ok(fields))
    answer = server.client().sample(
        world="pong", start={"bank": 3}, futures=2, horizon=3, include=["frames"]
    )
    assert answer.latents.shape == (2, 3, 4)
    assert answer.terminated.dtype == np.bool_
    assert answer.frames.shape == (2, 3, 2, 2, 3)
    assert server.body()["start"] == {"bank": 3}
    assert "x-session-id" not in server.requests[0].headers


def test_a_sample_is_read_with_all_that_it_includes(fake):
    fields = {
        "latents": [[[0.0, 1.0]]],
        "rewards": [[1.0]],
        "terminated": [[True]],
        "mixture": {
            "weights": [[[0.25, 0.75]]],
            "mu": [[[[0.0, 1.0], [2.0, 3.0]]]],
            "sigma": [[[0.5, 0.5]]],
        },
        "entropy": [[0.56]],
        "differential_entropy": [[-0.5]],
        "most_likely": {
            "latents": [[2.0, 3.0]],
            "rewards": [1.0],
            "terminated": [False],
            "frames": np.zeros((1, 2, 2, 3), int).tolist(),
        },
        "components": {
            "weights": [0.75, 0.25],
            "order": [1, 0],
            "latents": [[[2.0, 3.0]], [[0.0, 1.0]]],
            "rewards": [[1.0], [0.0]],
            "terminated": [[False], [True]],
        },
    }
    server = fake(fake.ok(fields))
    answer = server.client().sample(
        "s1", futures=1, horizon=1, include={"mixture", "entropy", "most_likely", "components"}
    )
    assert server.body()["include"] == ["components", "entropy", "mixture", "most_likely"]
    assert answer.frames is None
    assert answer.mixture.sigma.shape == (1, 1, 2)
    assert answer.mixture.mu.dtype == answer.entropy.dtype == np.float32
    assert (answer.entropy.item(), answer.differential_entropy.item()) == (np.float32(0.56), -0.5)
    assert answer.most_likely.latents.shape == (1, 2)
    assert answer.most_likely.frames.dtype == np.uint8
    assert answer.components.order.tolist() == [1, 0]
    assert answer.components.order.dtype == np.int64
    assert answer.components.terminated.dtype == np.bool_
    assert answer.components.latents.shape == (2, 1, 2)
    assert answer.components.frames is None


def test_worlds_are_listed_and_one_is_told_in_full(fake):
    server = fake(fake.ok({"worlds": [fake.WORLD]}), fake.ok(fake.WORLD, manifest={"a": 1}))
    client = server.client()
    (listed,) = client.worlds()
    told = client.world("pong")
    assert listed.action_names == ("up", "down")
    assert listed.frame_shape == (64, 64, 3)
    assert not listed.manifest
    assert told.manifest == {"a": 1}
    assert server.requests[1].url.path == "/worlds/pong"


def test_a_name_cannot_lead_to_another_path(fake):
    server = fake(fake.ok(fake.SESSION))
    server.client().session("../worlds?x")
    assert server.requests[0].url.raw_path == b"/sessions/..%2Fworlds%3Fx"


def test_numbers_that_are_not_finite_are_not_sent(fake):
    server = fake(fake.ok(fake.STEP))
    with pytest.raises(ValueError, match="observation must be finite"):
        server.client().step("s1", 1, observation=np.array([np.nan, 0.0]))
    assert not server.requests


def test_what_json_cannot_carry_is_not_sent(fake):
    server = fake(fake.ok(fake.STEP))
    with pytest.raises(TypeError, match="action cannot be sent: set has no JSON form"):
        server.client().step("s1", {1})
    with pytest.raises(TypeError, match="include is a list of names"):
        server.client().step("s1", 1, include="frame")
    assert not server.requests


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://dreams"])
def test_a_base_url_without_http_is_refused_at_once(url):
    with pytest.raises(ValueError, match="must start with http"):
        DreamClient(url)


def test_a_server_of_another_kind_is_told_apart_from_an_error(fake):
    pages = fake(httpx.Response(200, text="<html>"), httpx.Response(200, json={"ok": True}))
    client = pages.client()
    with pytest.raises(ProtocolError, match="is base_url a dreamserve server"):
        client.reset()
    with pytest.raises(ProtocolError, match="without 'session_id'"):
        client.reset()


def test_a_client_that_was_given_stays_open_and_its_own_is_closed(fake):
    server = fake(fake.ok(fake.RESET))
    given = server.client()
    with given:
        given.reset()
    given.reset()
    with DreamClient(fake.URL) as own:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        own.reset()
