"""Tensors as JSON or as binary data, compressed or not, and the pages that declare them."""

import gzip
import threading
import zlib

import numpy as np
import pytest

from dreamserve.engine.fake import fake_world

pytestmark = pytest.mark.anyio

START = {"sequence_start": True}
NAMES = ["latent", "reward", "terminated", "truncated", "frame", "state.memory", "state.n"]


async def test_a_model_declares_its_tensors(client):
    metadata = (await client.http.get("/v2/models/box")).json()
    assert (metadata["name"], metadata["versions"]) == ("box", ["1"])
    assert metadata["inputs"] == [{"name": "action", "datatype": "FP32", "shape": [2]}]
    declared = {one["name"]: (one["datatype"], one["shape"]) for one in metadata["outputs"]}
    assert list(declared) == NAMES
    assert declared["frame"] == ("UINT8", [8, 8, 3])
    assert declared["state.n"] == ("FP32", [1])
    discrete = (await client.http.get("/v2/models/fake/versions/1")).json()
    assert discrete["inputs"] == [{"name": "action", "datatype": "INT64", "shape": [1]}]


async def test_a_model_is_configured_for_sequences_without_a_batch_axis(client):
    config = (await client.http.get("/v2/models/fake/config")).json()
    assert (config["max_batch_size"], config["sequence_batching"]) == (0, {})
    assert [one["name"] for one in config["output"]] == NAMES
    (action,) = config["input"]
    assert action == {"name": "action", "data_type": "TYPE_INT64", "dims": [1], "optional": True}


async def test_the_server_and_its_models_are_described(client):
    assert (await client.http.get("/v2")).json()["name"] == "dreamserve"
    assert (await client.http.get("/v2/health/live")).json() == {"live": True}
    assert (await client.http.get("/v2/health/ready")).json() == {"ready": True}
    assert (await client.http.get("/v2/models/box/ready")).json() == {"ready": True, "name": "box"}
    for body in (b"", b"{}", b'{"ready": true}'):
        listed = (await client.http.post("/v2/repository/index", content=body)).json()
        assert [(one["name"], one["version"], one["state"]) for one in listed] == [
            ("fake", "1", "READY"),
            ("box", "1", "READY"),
        ]


async def test_nothing_is_ready_before_the_graphs_are_warm(serving, monkeypatch):
    world, warm = fake_world(), threading.Event()
    original = world.backend.decode

    def slow(latent):
        assert warm.wait(timeout=5)
        return original(latent)

    monkeypatch.setattr(world.backend, "decode", slow)
    async with serving(world, wait=False) as client:
        assert (await client.http.get("/v2/health/live")).status_code == 200
        for path in ("/v2/health/ready", "/v2/models/fake/ready"):
            response = await client.http.get(path)
            assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        index = "/v2/repository/index"
        assert (await client.http.post(index)).json()[0]["state"] == "UNAVAILABLE"
        assert (await client.http.post(index, json={"ready": True})).json() == []
        warm.set()


async def test_outputs_are_chosen_each_as_json_or_binary(client, infer, tensors_of):
    await infer(seed=7, **START)
    wanted = [{"name": name} for name in NAMES]
    wanted[0]["parameters"] = {"binary_data": False}
    for default in (True, False):
        response = await infer(1, binary_data_output=default, more={"outputs": wanted[::-1]})
        tensors = tensors_of(response)
        assert list(tensors) == NAMES[::-1]
        assert (b'"data":[' in response.content) is True
        assert ("inference-header-content-length" in response.headers) is default
    copied = await client.post("/sessions/1/fork", {"include": ["frame", "state"]})
    tensors, copy = tensors_of(response), copied.json()
    assert tensors["frame"].tolist() == copy["frame"]
    assert tensors["state.memory"].tolist() == np.float32(copy["state"]["memory"]).tolist()
    assert tensors["state.n"].tolist() == [copy["state"]["n"]] == [2.0]


async def test_the_first_frame_may_be_asked_for(client, infer, tensors_of):
    outputs = {"outputs": [{"name": "frame"}, {"name": "state.memory"}]}
    begun = await client.reset(seed=7, include=["frame", "state"])
    tensors = tensors_of(await infer(seed=7, more=outputs, **START))
    assert tensors["frame"].tolist() == begun["frame"]
    assert tensors["state.memory"].tolist() == np.float32(begun["state"]["memory"]).tolist()


async def test_the_id_of_a_request_is_repeated(infer):
    response = await infer(binary_data_output=False, more={"id": "mine"}, **START)
    assert response.json()["id"] == "mine"


@pytest.mark.parametrize("data", [[1], [[1]]])
async def test_json_numbers_may_be_flat_or_nested(client, data):
    given = {"name": "action", "datatype": "INT64", "shape": [1], "data": data}
    fields = {"parameters": {"sequence_id": 1, "sequence_start": True}, "inputs": [given]}
    response = await client.http.post("/v2/models/fake/infer", json=fields)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_a_request_may_be_compressed(client, body_of, encoding, compress):
    body, headers = body_of(1, parameters={"sequence_id": 1, "sequence_start": True})
    response = await client.http.post(
        "/v2/models/fake/infer",
        content=compress(body),
        headers={**headers, "content-encoding": encoding},
    )
    assert response.json()["parameters"]["step"] == 1


async def test_what_unpacks_to_too_much_is_refused(serving, body_of):
    body = gzip.compress(b" " * 300_000)
    async with serving(fake_world(), max_body_bytes=100_000) as client:
        response = await client.http.post(
            "/v2/models/fake/infer", content=body, headers={"content-encoding": "gzip"}
        )
        assert (response.status_code, response.json()["code"]) == (413, "too_large")
        assert "100000 bytes once decompressed" in response.json()["error"]
