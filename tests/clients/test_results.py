"""How the SDK reads responses: the protocol's results, with arrays of their dtypes."""

import httpx
import numpy as np
import pytest

import dreamserve_client as sdk


def test_a_reset_is_read_into_numbers_and_arrays(fake):
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    state = {"h": [0.25, 0.5]}
    server = fake(fake.ok(fake.RESET, frame=frame.tolist(), state=state, later="unknown"))
    result = server.client().reset(session_id="s1", include=["frame", "state"])
    assert (result.session_id, result.world, result.step, result.seed) == ("s1", "pong", 0, 7)
    assert result.latent.dtype == np.float32
    np.testing.assert_array_equal(result.latent, [0.5, -0.25])
    assert result.frame.dtype == np.uint8
    np.testing.assert_array_equal(result.frame, frame)
    np.testing.assert_array_equal(result.state["h"], [0.25, 0.5])
    assert server.body()["include"] == ["frame", "state"]


def test_a_step_is_read_with_its_mixture_and_its_surprise(fake):
    mixture = {"weights": [0.5, 0.5], "mu": [[0.0, 1.0], [2.0, 3.0]], "sigma": [[1.0, 1.0]] * 2}
    info = {"surprise": 1.5, "expected_surprise": 0.9}
    server = fake(fake.ok(fake.STEP, mixture=mixture, info=info, terminated=True))
    result = server.client().step("s1", 1, observation=np.zeros(2, np.float32))
    assert (result.step, result.reward, result.terminated, result.truncated) == (
        1,
        1.0,
        True,
        False,
    )
    assert result.info == info
    assert result.mixture["weights"].shape == (2,)
    assert result.mixture["mu"].dtype == np.float32
    assert server.body()["observation"] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("action", "actions", "dtype"),
    [(1, [1, 0, 2], np.int64), ([0.5, 1.0], [[0.5, 1.0], [0.0, 0.0]], np.float32)],
)
def test_a_plan_has_integers_in_a_discrete_world_and_floats_in_a_box_world(
    fake, action, actions, dtype
):
    result = fake(fake.ok(fake.PLAN, action=action, actions=actions)).client().plan("s1", horizon=3)
    assert result.actions.dtype == dtype
    np.testing.assert_array_equal(result.actions, actions)
    np.testing.assert_array_equal(result.action, action)
    assert result.cut_short is False


def test_a_sample_has_futures_first(fake):
    fields = {
        "latents": np.zeros((2, 3, 4)).tolist(),
        "rewards": [[1.0] * 3] * 2,
        "terminated": [[False, False, True]] * 2,
        "frames": np.zeros((2, 3, 2, 2, 3), int).tolist(),
    }
    server = fake(fake.ok(fields))
    result = server.client().sample(
        world="pong", start=sdk.Start(bank=3), futures=2, horizon=3, include=["frames"]
    )
    assert result.latents.shape == (2, 3, 4)
    assert result.terminated.dtype == np.bool_
    assert result.frames.shape == (2, 3, 2, 2, 3)
    assert server.body()["start"] == {"bank": 3}
    assert "x-session-id" not in server.requests[0].headers


def test_a_sample_is_read_with_all_its_includes(fake):
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
    result = server.client().sample(
        "s1", futures=1, horizon=1, include=["mixture", "entropy", "most_likely", "components"]
    )
    assert server.body()["include"] == ["mixture", "entropy", "most_likely", "components"]
    assert result.frames is None
    assert result.mixture["sigma"].shape == (1, 1, 2)
    assert result.mixture["mu"].dtype == result.entropy.dtype == np.float32
    assert (result.entropy.item(), result.differential_entropy.item()) == (np.float32(0.56), -0.5)
    assert result.most_likely.latents.shape == (1, 2)
    assert result.most_likely.frames.dtype == np.uint8
    assert result.components.order.tolist() == [1, 0]
    assert result.components.order.dtype == np.int64
    assert result.components.terminated.dtype == np.bool_
    assert result.components.latents.shape == (2, 1, 2)
    assert result.components.frames is None


def test_worlds_are_listed_and_one_has_its_manifest(fake):
    server = fake(fake.ok({"worlds": [fake.WORLD]}), fake.ok(fake.WORLD, manifest={"a": 1}))
    client = server.client()
    (listed,) = client.worlds()
    full = client.world("pong")
    assert (type(listed), type(full)) == (sdk.WorldSummary, sdk.WorldResult)
    assert listed.action_names == ["up", "down"]
    assert listed.frame_shape == [64, 64, 3]
    assert full.manifest == {"a": 1}
    assert server.requests[1].url.path == "/worlds/pong"


def test_an_unrelated_server_raises_an_error_of_its_own(fake):
    pages = fake(httpx.Response(200, text="<html>"), httpx.Response(200, json={"ok": True}))
    client = pages.client()
    with pytest.raises(sdk.ProtocolError, match="is base_url a dreamserve server"):
        client.reset()
    with pytest.raises(sdk.ProtocolError, match="without 'latent'"):
        client.reset()


@pytest.mark.parametrize(
    "changed",
    [
        {"latent": "high"},
        {"latent": [[1], 2]},
        {"mixture": 5},
        {"latent": {"dtype": 1}},
        {"latent": [10**400]},
    ],
)
def test_an_invalid_field_makes_the_response_unreadable(fake, changed):
    with pytest.raises(sdk.ProtocolError, match="unreadably"):
        fake(fake.ok(fake.STEP, **changed)).client().step("s1", 1)


@pytest.mark.parametrize(
    ("result", "send"),
    [
        ("RESET", lambda client: client.reset(session_id="mine")),
        ("STEP", lambda client: client.step("mine", 1)),
        ("SESSION", lambda client: client.session("mine")),
        ("REWIND", lambda client: client.rewind("mine", 1)),
        ("FORK", lambda client: client.fork("mine", session_ids=["f1", "f2"])),
        ("SESSION", lambda client: client.restore({}, "mine")),
    ],
)
def test_a_result_of_another_session_is_no_result(fake, waits, result, send):
    server = fake(fake.ok(getattr(fake, result)))
    server.echoes = False
    with pytest.raises(sdk.ProtocolError, match="answered of session s1, not of mine"):
        send(server.client())
    assert len(server.requests) == 1


@pytest.mark.parametrize("order", [lambda ids: ids[::-1], lambda ids: [ids[0], "mine"]])
@pytest.mark.parametrize(
    ("result", "send"),
    [
        ("RESET_BATCH", lambda client, ids: client.reset_batch(session_ids=ids)),
        ("STEP_BATCH", lambda client, ids: client.step_batch(ids, [1, 0])),
        ("FORK", lambda client, ids: client.fork("s1", session_ids=ids)),
    ],
)
def test_a_result_of_other_sessions_or_in_another_order_is_no_result(fake, result, send, order):
    fields = getattr(fake, result)
    server = fake(fake.ok(fields))
    server.echoes = False
    send(server.client(), tuple(fields["session_ids"]))
    with pytest.raises(sdk.ProtocolError, match="answered of other sessions"):
        send(server.client(), order(fields["session_ids"]))


def test_a_step_of_another_session_is_not_counted(fake):
    server = fake(fake.ok(fake.RESET), fake.ok(fake.STEP, session_id="other", step=9))
    client = server.client()
    client.reset(session_id="s1")
    server.echoes = False
    with pytest.raises(sdk.ProtocolError):
        client.step("s1", 1)
    server.echoes = True
    client.step("s1", 1)
    assert server.body()["step"] == 1
