"""Whatever is sent gets a clear error in the form that the protocol's clients read, never a 5xx."""

import asyncio
import gzip
import json
import random
from typing import Any

import numpy as np
import orjson
import pytest

from dreamserve.engine.fake import fake_world

pytestmark = pytest.mark.anyio

PATH, LENGTH = "/v2/models/fake/infer", "inference-header-content-length"
SEQUENCE = {"sequence_id": 1}


def tensor(**changed: Any) -> dict[str, Any]:
    """Return a request's fields with something changed in its input."""
    given = {"name": "action", "datatype": "INT64", "shape": [1], "data": [1], **changed}
    return {
        "parameters": SEQUENCE,
        "inputs": [{k: v for k, v in given.items() if v is not None}],
    }


def choosing(*outputs: Any) -> dict[str, Any]:
    return {**tensor(), "outputs": outputs}


def binary(size: Any) -> dict[str, Any]:
    return tensor(data=None, parameters={"binary_data_size": size})


BAD: list[tuple[Any, int, str, str]] = [
    ([], 422, "invalid_request", "must be an object, it is a list"),
    ({}, 422, "invalid_request", "sequence_id must be given"),
    ({"inputs": []}, 422, "invalid_request", "sequence_id must be given"),
    ({"parameters": {"sequence_id": 0}}, 422, "invalid_request", "sequence_id must be given"),
    ({"parameters": {"sequence_id": ""}}, 422, "invalid_request", "parameters.sequence_id"),
    ({"parameters": {"sequence_id": -1}}, 422, "invalid_request", "parameters.sequence_id"),
    ({"parameters": {"sequence_id": 2**64}}, 422, "invalid_request", "sequence_id"),
    ({"parameters": {"sequence_id": "a b"}}, 422, "invalid_request", "parameters.sequence_id"),
    ({"parameters": {"sequence_id": True}}, 422, "invalid_request", "parameters.sequence_id"),
    ({"parameters": {"sequence_id": 1.5}}, 422, "invalid_request", "parameters.sequence_id"),
    ({"parameters": SEQUENCE}, 422, "invalid_request", "an action, unless sequence_start"),
    ({"parameters": [], "inputs": []}, 422, "invalid_request", "parameters"),
    (
        {"parameters": {**SEQUENCE, "timeout": 5}},
        422,
        "invalid_request",
        "parameters.timeout: is not a known field",
    ),
    (
        {"parameters": {**SEQUENCE, "sequence_start": 1}},
        422,
        "invalid_request",
        "parameters.sequence_start",
    ),
    (
        {**tensor(), "parameters": {**SEQUENCE, "seed": 1, "bank": 2}},
        422,
        "invalid_request",
        "only with sequence_start: seed, bank",
    ),
    (
        {"parameters": {**SEQUENCE, "sequence_start": True, "seed": -1}},
        422,
        "invalid_request",
        "parameters.seed",
    ),
    (
        {"parameters": {**SEQUENCE, "sequence_start": True, "bank": 99}},
        422,
        "invalid_request",
        "bank",
    ),
    (tensor(), 404, "session_not_found", "no session 1"),
    (tensor(more=1), 422, "invalid_request", "inputs.0.more: is not a known field"),
    (tensor(name="state"), 422, "invalid_request", "one action or none, not ['state']"),
    (tensor(name=None), 422, "invalid_request", "inputs.0.name: Field required"),
    (
        {**tensor(), "inputs": tensor()["inputs"] * 2},
        422,
        "invalid_request",
        "one action or none, not more",
    ),
    (tensor(datatype="FP32"), 422, "invalid_request", "must be INT64 [1], not FP32 [1]"),
    (tensor(datatype="int64"), 422, "invalid_request", "must be INT64 [1], not int64 [1]"),
    (tensor(shape=[]), 422, "invalid_request", "must be INT64 [1], not INT64 []"),
    (tensor(shape=[1, 1]), 422, "invalid_request", "not INT64 [1, 1]"),
    (tensor(shape=[2**53 - 1] * 9), 422, "invalid_request", "must be INT64 [1], not INT64 [9"),
    (tensor(shape=[-1]), 422, "invalid_request", "inputs.0.shape.0"),
    (tensor(shape=[2**70]), 422, "invalid_request", "inputs.0.shape.0"),
    (tensor(shape=["1"]), 422, "invalid_request", "inputs.0.shape.0"),
    (tensor(data=[]), 422, "invalid_request", "must hold 1 numbers, not 0"),
    (tensor(data=[1, 2]), 422, "invalid_request", "must hold 1 numbers, not 2"),
    (tensor(data=[[1], 2]), 422, "invalid_request", "must be a number"),
    (tensor(data=[1.5]), 422, "invalid_request", "int64"),
    (tensor(data=["1"]), 422, "invalid_request", "must be a number"),
    (tensor(data=[True]), 422, "invalid_request", "must be a number"),
    (tensor(data=1), 422, "invalid_request", "data must be a list of numbers"),
    (tensor(data={"dtype": "<i8"}), 422, "invalid_request", "data must be a list of numbers"),
    (tensor(data=[2**63]), 422, "invalid_request", "must hold integers from"),
    (tensor(data=[7]), 404, "session_not_found", "no session 1"),
    (tensor(data=None), 422, "invalid_request", "exactly one of data and binary_data_size"),
    (tensor(parameters={"binary_data_size": 0}), 422, "invalid_request", "exactly one of data"),
    (binary(8), 422, "invalid_request", "0 bytes follow the JSON, binary_data_size says 8"),
    (binary(2**53 - 1), 422, "invalid_request", "0 bytes follow the JSON"),
    (binary(0), 422, "invalid_request", "binary_data_size must be 8, not 0"),
    (binary(-8), 422, "invalid_request", "inputs.0.parameters.binary_data_size"),
    (binary("8"), 422, "invalid_request", "inputs.0.parameters.binary_data_size"),
    (
        tensor(parameters={"shared_memory_region": "a"}),
        422,
        "invalid_request",
        "shared_memory_region: is not a known field",
    ),
    (choosing({"name": "value"}), 422, "invalid_request", "no ['value']; there are latent, reward"),
    (choosing({"name": "state.x"}), 422, "invalid_request", "no ['state.x']"),
    (choosing({"name": "latent"}, {"name": "latent"}), 422, "invalid_request", "each output once"),
    (choosing({}), 422, "invalid_request", "outputs.0.name: Field required"),
    (choosing("latent"), 422, "invalid_request", "outputs.0"),
    (
        choosing({"name": "latent", "parameters": {"classification": 2}}),
        422,
        "invalid_request",
        "classification: is not a known field",
    ),
    ({**tensor(), "output": []}, 422, "invalid_request", "output: is not a known field"),
    ({**tensor(), "id": 3}, 422, "invalid_request", "id"),
]


def check(response: Any, status: int, code: str, said: str) -> None:
    """Assert that a response is this problem, in the form that the protocol's clients read."""
    assert response.status_code == status, response.text
    problem = response.json()
    assert problem["code"] == code, problem
    assert said in problem["error"], problem
    assert problem["error"] == problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert len(response.content) < 3000


@pytest.mark.parametrize(("body", "status", "code", "said"), BAD, ids=lambda one: str(one)[:40])
async def test_a_bad_request_is_told_what_is_wrong(client, body, status, code, said):
    raw = body if isinstance(body, bytes) else encode(body)
    check(await client.http.post(PATH, content=raw), status, code, said)


def encode(body: Any) -> bytes:
    """Return JSON, with integers of any size."""
    return json.dumps(body).encode()


GOOD = encode(tensor())
ZIPPED = gzip.compress(GOOD, mtime=0)  # the same bytes, so the same names, in every process
BINARY = encode(binary(8)) + np.int64(1).tobytes()
HEADERS: list[tuple[bytes, dict[str, str], int, str, str]] = [
    (GOOD, {LENGTH: "x"}, 422, "invalid_request", "not x"),
    (GOOD, {LENGTH: "-1"}, 422, "invalid_request", "not -1"),
    (GOOD, {LENGTH: ""}, 422, "invalid_request", "must be the length of the JSON"),
    (GOOD, {LENGTH: "1e3"}, 422, "invalid_request", "must be the length of the JSON"),
    (GOOD, {LENGTH: "0"}, 422, "invalid_request", "binary data alone can name no sequence"),
    (GOOD, {LENGTH: "9" * 5000}, 422, "invalid_request", "must be the length of the JSON"),
    (GOOD, {LENGTH: "0" * 19 + "1" * 4400}, 422, "invalid_request", "must be the length of the"),
    (GOOD, {LENGTH: str(len(GOOD) + 1)}, 422, "invalid_request", f"the body's {len(GOOD)} bytes"),
    (GOOD, {LENGTH: "5"}, 422, "invalid_request", "the body is not JSON"),
    (BINARY, {}, 422, "invalid_request", "the body is not JSON"),
    (BINARY[:-1], {LENGTH: str(len(BINARY) - 8)}, 422, "invalid_request", "7 bytes follow"),
    (BINARY + b"x", {LENGTH: str(len(BINARY) - 8)}, 422, "invalid_request", "9 bytes follow"),
    (b"", {}, 422, "invalid_request", "the body is not JSON"),
    (b'{"a": NaN}', {}, 422, "not_finite", "numbers must be finite"),
    (GOOD, {"content-encoding": "br"}, 415, "unsupported_media_type", "must be gzip or deflate"),
    (GOOD, {"content-encoding": "gzip"}, 422, "invalid_request", "the body is not gzip"),
    (
        ZIPPED[:-9],
        {"content-encoding": "gzip"},
        422,
        "invalid_request",
        "not one whole gzip stream",
    ),
    (
        ZIPPED + b"more",
        {"content-encoding": "gzip"},
        422,
        "invalid_request",
        "not one whole gzip stream",
    ),
    (GOOD, {"content-type": "text/plain"}, 415, "unsupported_media_type", "text/plain"),
    (GOOD, {"origin": "http://evil.test"}, 403, "forbidden_origin", "evil.test"),
]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "said"), HEADERS, ids=lambda one: str(one)[:30]
)
async def test_bad_bytes_and_headers_are_told_too(client, body, headers, status, code, said):
    check(await client.http.post(PATH, content=body, headers=headers), status, code, said)


PATHS = [
    ("GET", "/v2/models/mars", 404, "world_not_found", "no world 'mars'; loaded: fake, box"),
    ("GET", "/v2/models/mars/ready", 404, "world_not_found", "mars"),
    ("GET", "/v2/models/fake/versions/2", 404, "world_not_found", "fake has version 1, not 2"),
    ("POST", "/v2/models/mars/infer", 404, "world_not_found", "mars"),
    ("POST", "/v2/models/fake/versions/2/infer", 404, "world_not_found", "version 1, not 2"),
    ("GET", "/v2/models/fake/stats", 404, "not_found", "no such path"),
    ("POST", "/v2/repository/models/fake/load", 404, "not_found", "no such path"),
    ("GET", PATH, 405, "method_not_allowed", "OPTIONS, POST are"),
    ("DELETE", "/v2/models/fake", 405, "method_not_allowed", "GET, HEAD, OPTIONS are"),
    ("POST", "/v2/repository/index", 422, "invalid_request", "parameters: is not a known field"),
]


@pytest.mark.parametrize(("method", "path", "status", "code", "said"), PATHS)
async def test_a_bad_path_is_told_in_that_form(client, method, path, status, code, said):
    check(await client.http.request(method, path, content=GOOD), status, code, said)


async def test_numbers_that_are_not_finite_are_refused_and_change_nothing(client, infer):
    await infer(world="box", sequence_start=True)
    for wrong in (float("nan"), float("inf")):
        response = await infer([wrong, 0.0], world="box")
        check(response, 422, "not_finite", "action: element [0] is not a finite")
    check(await infer([3.0, 0.0], world="box"), 422, "invalid_action", "first = 3")
    assert (await client.http.get("/sessions/1")).json()["step"] == 0


async def test_a_step_that_computes_nan_is_not_taken(serving, body_of):
    async with serving(fake_world(nan_action=2)) as client:
        for action, status, step in ((1, 200, 1), (2, 500, None), (1, 200, 2)):
            parameters = {"sequence_id": 1, "sequence_start": step == 1}
            body, headers = body_of(action, parameters=parameters)
            response = await client.http.post(PATH, content=body, headers=headers)
            assert response.status_code == status
            assert response.json().get("parameters", {}).get("step") == step


async def test_a_full_server_and_one_that_drains_say_so(serving, body_of):
    body, headers = body_of(1, parameters={"sequence_id": 2, "sequence_start": True})
    async with serving(fake_world(), capacity=1) as client:
        await client.reset()
        check(
            await client.http.post(PATH, content=body, headers=headers),
            429,
            "overloaded",
            "1 of 1 sessions are in use",
        )
        client.app.service.engine.drain()
        response = await client.http.post(PATH, content=body, headers=headers)
        check(response, 503, "draining", "takes no new sessions")
        assert response.headers["retry-after"] == "1"


VALUES = [None, True, -1, 0, 1, 8, 2**63, 2**70, 1.5, 1e308, "", "a", "latent", [], [1], {}, [[]]]
ENCODINGS = ["gzip", "deflate", "identity", "br", ""]


def mutated(chance: random.Random) -> tuple[bytes, dict[str, str]]:
    """Return a request with a few things changed: fields, bytes, headers."""
    fields: Any = choosing({"name": "latent"}, {"name": "frame", "parameters": {}})
    starts = chance.random() < 0.6
    fields["parameters"] = {
        "sequence_id": chance.randrange(1, 100),
        "sequence_start": starts,
        "sequence_end": chance.random() < 0.5,
        **({"seed": 1} if starts else {}),
    }
    data = b""
    if chance.random() < 0.5:
        data = chance.randbytes(chance.choice([0, 7, 8, 8, 8, 9]))
        fields["inputs"] = binary(8)["inputs"]
    places = [fields, fields["parameters"], fields["inputs"][0], fields["outputs"][1]]
    for _ in range(chance.randrange(3)):
        place = chance.choice(places)
        place[chance.choice([*place, "parameters", "more"])] = chance.choice(VALUES)
    text = bytearray(encode(fields))
    if chance.random() < 0.2:
        text[chance.randrange(len(text))] = chance.randrange(256)
    headers = {LENGTH: str(len(text) + chance.choice([0, 0, 0, 0, 1, -1, 8]))} if data else {}
    body = bytes(text) + data
    if chance.random() < 0.1:
        headers["content-encoding"] = chance.choice(ENCODINGS)
        body = gzip.compress(body) if chance.random() < 0.5 else body
    return body, headers


async def test_thousands_of_mutated_requests_are_answered_without_a_failure(client):
    chance, statuses = random.Random(7), list[int]()
    async with asyncio.timeout(300):
        for _ in range(3000):
            body, headers = mutated(chance)
            response = await client.http.post(PATH, content=body, headers=headers)
            statuses.append(response.status_code)
            assert response.status_code in (200, 404, 409, 415, 422), (body, response.text)
            if response.status_code >= 400:
                assert orjson.loads(response.content)["error"], body
    assert statuses.count(200) > 150
    assert set(statuses) == {200, 404, 409, 415, 422}
