"""Actions of every space in the Open Inference Protocol."""

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
async def test_the_inference_protocol_declares_and_takes_the_actions(
    client, infer, tensors_of, kind
):
    space = SPACES[kind]
    metadata = (await client.http.get(f"/v2/models/{NAMES[kind]}")).json()
    datatype = "INT64" if space.dtype is np.int64 else "FP32"
    shape = list(space.shape) or [1]
    assert metadata["inputs"] == [{"name": "action", "datatype": datatype, "shape": shape}]
    await client.reset(session_id="twin", world=NAMES[kind], seed=7)
    (action,) = actions_of(kind, 1)
    expected = (
        await client.post("/step", {"session_id": "twin", "action": action.tolist()})
    ).json()
    for binary in (True, False):
        response = await infer(
            action.tolist(),
            world=NAMES[kind],
            binary=binary,
            seed=7,
            sequence_id=3 + binary,
            sequence_start=True,
        )
        np.testing.assert_array_equal(
            tensors_of(response)["latent"], np.float32(expected["latent"])
        )


@pytest.mark.parametrize(
    ("world", "action", "detail"),
    [
        ("several", [0, 2, 0, 0], "fire = 2 is not in MultiDiscrete"),
        ("several", [0.0, 1.0, 0.0, 0.0], "must be INT64 [4], not FP32 [4]"),
        ("binary", [0, 0, 2], "fire = 2 is not in MultiBinary"),
        ("odd", [0, 0, 10], "must be FP32 [3], not INT64 [3]"),
    ],
)
async def test_the_inference_protocol_refuses_them_too(infer, world, action, detail):
    response = await infer(action, world=world, sequence_start=True)
    assert response.status_code in (400, 422)
    assert detail in response.text
