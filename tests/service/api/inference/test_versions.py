"""A sequence stays on the version of the world that it began on, under every path."""

import gc
import weakref
from base64 import b64encode
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.observations import Crop
from dreamserve_protocol.png import encode

pytestmark = pytest.mark.anyio

OLD, NEW, START, END = "a1", "b2", {"sequence_start": True}, {"sequence_end": True}
FRAME = {"outputs": [{"name": "latent"}, {"name": "reward"}, {"name": "frame"}]}


def version(number: str, **fields: Any) -> World:
    world = fake_world(**fields)
    # Of a manifest, this is all that is read.
    manifest: Any = SimpleNamespace(version=number, quality={}, model_dump=world.spec.model_dump)
    world.manifest = manifest
    return world


@pytest.fixture
async def client(serving: Any) -> AsyncIterator[Any]:
    """Return a client of a server with version OLD of `fake`, and `box`."""
    async with serving(version(OLD), fake_world("box", discrete=False)) as client:
        yield client


@pytest.fixture
def load(client: Any) -> Any:
    """Return what replaces `fake` by version NEW, which takes other actions: a Box's."""
    served = client.app.service.engine.served
    return lambda: served.add(version(NEW, discrete=False))


@pytest.fixture
def remove(client: Any) -> Any:
    return client.app.service.engine.served.remove


async def test_a_sequence_is_stepped_on_the_version_it_began_on(client, infer, tensors_of, load):
    await infer(1, seed=7, sequence_id=1, **START)
    wanted = [tensors_of(await infer(action, more=FRAME)) for action in (1, 2)]
    await infer(1, seed=7, sequence_id=2, **START)
    load()
    by_name = await infer(1, sequence_id=2, more=FRAME)
    by_version = await infer(2, world=f"fake/versions/{OLD}", sequence_id=2, more=FRAME)
    for response, tensors in zip((by_name, by_version), wanted, strict=True):
        told = tensors_of(response)
        assert {name: part.tobytes() for name, part in told.items()} == {
            name: part.tobytes() for name, part in tensors.items()
        }
    response = await infer(1, sequence_id=2, binary_data_output=False)
    assert (response.json()["model_name"], response.json()["model_version"]) == ("fake", OLD)
    begun = await infer([0.5, 0.5], binary_data_output=False, sequence_id=3, **START)
    assert begun.json()["model_version"] == NEW


async def test_a_path_of_another_version_is_refused(client, infer, load):
    await infer(1, **START)
    load()
    response = await infer([0.5, 0.5], world=f"fake/versions/{NEW}")
    assert response.status_code == 422
    assert response.json()["error"] == f"sequence 1 is of the world fake, version {OLD}"
    await infer([0.5, 0.5], sequence_id=2, **START)
    assert (await infer(1, world=f"fake/versions/{OLD}", sequence_id=2)).status_code == 422
    assert (await client.http.get("/sessions/1")).json()["step"] == 1


async def test_a_sequence_of_a_retired_world_is_stepped_and_ended_by_its_name(
    client, infer, remove
):
    await infer(1, **START)
    remove("fake")
    response = await infer(1, binary_data_output=False)
    assert (response.status_code, response.json()["parameters"]["step"]) == (200, 2)
    assert (await infer(**END)).json()["model_version"] == OLD
    assert (await client.http.get("/sessions/1")).status_code == 404


async def test_a_sequence_of_a_retired_world_is_not_stepped_under_another_name(
    client, infer, remove
):
    await infer([0.1, 0.1], world="box", **START)
    remove("box")
    response = await infer(1)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert (await client.http.get("/sessions/1")).json()["step"] == 1


async def test_a_retired_version_is_described_but_begins_nothing(client, infer, load):
    await infer(1, **START)
    load()
    path = f"/v2/models/fake/versions/{OLD}"
    described = (await client.http.get(path)).json()
    assert described["versions"] == [OLD]
    assert [one["datatype"] for one in described["inputs"]] == ["INT64"]
    assert (await client.http.get("/v2/models/fake")).json()["versions"] == [NEW]
    assert (await client.http.get(f"{path}/ready")).status_code == 404
    response = await infer(1, world=f"fake/versions/{OLD}", sequence_id=2, **START)
    assert (response.status_code, response.json()["code"]) == (404, "world_not_found")
    assert "takes no new sequences" in response.json()["error"]


async def test_a_session_tells_the_version_of_its_world(client, infer, load):
    await client.reset(session_id="old")
    load()
    await client.reset(session_id="new")
    for session_id, number in (("old", OLD), ("new", NEW)):
        fields = (await client.http.get(f"/sessions/{session_id}")).json()
        assert fields["world_version"] == number


async def test_frames_of_a_retired_world_may_still_be_sent_as_png(client, load, remove):
    service, seen = client.app.service, fake_world().spec.observation
    await client.reset(session_id="a")
    height, width, _ = seen.source_shape
    whole = Crop(top=0, bottom=seen.shape[0], left=0, right=seen.shape[1])
    smaller = seen.model_copy(update={"source_shape": seen.shape, "crop": whole})
    service.engine.served.add(version(NEW, observation=smaller))
    remove("box")
    service._worlds_changed()
    frame = b64encode(encode(np.zeros((height, width, 3), np.uint8))).decode()
    fields = {"session_id": "a", "action": 1, "observation": {"png": frame}}
    response = await client.post("/step", fields)
    assert response.status_code == 200, response.text


async def test_a_model_that_was_described_holds_no_world_that_was_freed(client, infer, load):
    engine = client.app.service.engine
    before = weakref.ref(load())
    await infer([0.5, 0.5], **START)
    engine.served.add(version("c3"))
    await client.http.get(f"/v2/models/fake/versions/{NEW}")
    await infer(**END)
    engine.table.worlds.free_retired(engine.table.now_s)
    gc.collect()
    assert before() is None
