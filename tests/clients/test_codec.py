"""Bodies are msgpack with packed arrays; JSON on request."""

import json

import httpx
import msgpack
import numpy as np
import pytest

import dreamserve_client as sdk
from dreamserve_client.codec import JSON, MSGPACK, listed
from dreamserve_protocol.arrays import pack

FRAME = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def test_requests_are_msgpack_and_ask_for_msgpack(fake):
    server = fake(fake.ok(fake.STEP))
    server.client().step("s1", 1, observation=FRAME)
    (request,) = server.requests
    assert request.headers["content-type"] == request.headers["accept"] == "application/msgpack"
    sent = msgpack.unpackb(request.content)
    packed = {"dtype": "|u1", "shape": [2, 4, 3], "data": FRAME.tobytes()}
    assert sent == {"session_id": "s1", "action": 1, "observation": packed}


def test_json_is_sent_on_request_with_arrays_as_lists(fake):
    server = fake(fake.ok(fake.STEP))
    server.client(encoding="json").step("s1", 1, observation=FRAME)
    (request,) = server.requests
    assert request.headers["content-type"] == request.headers["accept"] == "application/json"
    assert json.loads(request.content)["observation"] == FRAME.tolist()


def test_another_encoding_is_refused(fake):
    with pytest.raises(sdk.ConfigurationError, match="encoding must be 'msgpack' or 'json'"):
        fake().client(encoding="yaml")


def test_packed_arrays_in_a_response_become_arrays_that_can_be_written(fake):
    fields = {**fake.STEP, "latent": pack(np.array([0.5, 1.5], np.float32)), "frame": pack(FRAME)}
    body = httpx.Response(
        200, content=msgpack.packb(fields), headers={"content-type": "application/msgpack"}
    )
    after = fake(body).client().step("s1", 1)
    np.testing.assert_array_equal(after.frame, FRAME)
    assert after.latent.dtype == np.float32
    after.latent[:] = 0


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=lambda codec: codec.name)
@pytest.mark.parametrize(
    "value",
    [
        FRAME,
        FRAME[:, ::-1],
        np.asfortranarray(FRAME),
        np.array([1.5, -2.0], ">f4"),
        np.array([], np.float32),
        np.array(2.5),
        np.float32(0.25),
        np.int64(-3),
        np.bool_(True),
        [[1, 2], [3, 4]],
        [FRAME, FRAME],
        [FRAME, FRAME[1:]],
        (np.int64(1), 2),
    ],
)
def test_arrays_of_any_layout_arrive_as_they_are(codec, value):
    arrived = listed(codec.decode(codec.encode({"x": value, "nested": {"x": value}})))
    expected = json.loads(json.dumps(value, default=lambda array: array.tolist()))
    assert arrived["x"] == arrived["nested"]["x"] == expected


def test_a_list_of_frames_is_one_array():
    sent = msgpack.unpackb(MSGPACK.encode({"start": sdk.Start(frames=[FRAME, FRAME], actions=[1])}))
    assert sent["start"]["frames"] == pack(np.array([FRAME, FRAME]))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1}, "set has no msgpack form"),
        (np.array([{1}]), "set has no msgpack form"),
        (2**70, "at most 64 bits"),
        ("\ud800", "surrogates not allowed"),
        (object(), "object has no msgpack form"),
    ],
)
def test_what_msgpack_cannot_carry_is_not_sent_and_the_field_is_named(fake, value, words):
    server = fake(fake.ok(fake.STEP))
    with pytest.raises(sdk.InvalidRequestError, match=f"action cannot be sent: .*{words}"):
        server.client().step("s1", value)
    assert not server.requests


def test_what_json_cannot_carry_is_not_sent_and_the_field_is_named(fake):
    server = fake(fake.ok(fake.STEP))
    client = server.client(encoding="json")
    with pytest.raises(sdk.InvalidRequestError, match="action cannot be sent: set has no JSON"):
        client.step("s1", {1})
    with pytest.raises(sdk.NotFiniteInputError, match="observation holds NaN or infinity"):
        client.step("s1", 1, observation=np.array([np.nan, 0.0]))
    policy = sdk.LinearPolicy(np.full((2, 3), np.inf))
    with pytest.raises(sdk.NotFiniteInputError, match="policy holds NaN or infinity"):
        client.rollout(policy=policy, max_steps=3, episodes=1)
    assert not server.requests


def test_a_snapshot_is_a_document_that_json_can_store(fake):
    document = {"latent": pack(np.array([0.5], np.float32)), "state": {"h": pack(FRAME)}, "seed": 7}
    body = httpx.Response(
        200, content=msgpack.packb(document), headers={"content-type": "application/msgpack"}
    )
    taken = fake(body).client().snapshot("s1")
    assert taken == {"latent": [0.5], "state": {"h": FRAME.tolist()}, "seed": 7}
    assert json.loads(json.dumps(taken)) == taken
