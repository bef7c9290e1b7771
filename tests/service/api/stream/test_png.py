"""Frames as PNG files over the sockets: /stream in both forms, and OpenEnv's."""

import asyncio
import base64
import threading
from typing import Any

import numpy as np
import orjson
import pytest
from websockets.asyncio.client import connect

from dreamserve_protocol import pictures
from dreamserve_protocol.arrays import unpack
from dreamserve_protocol.png import decode, encode

pytestmark = pytest.mark.anyio
FORMS = ["json", "msgpack"]
PATIENCE_S = 30.0
FRAME = np.random.default_rng(7).integers(0, 256, (8, 8, 3), np.uint8)


def png(frame: np.ndarray, form: str) -> dict[str, Any]:
    file = encode(frame)
    return {"png": file if form == "msgpack" else base64.b64encode(file).decode()}


def opened(value: dict[str, Any], form: str) -> np.ndarray:
    file = value["png"]
    assert isinstance(file, bytes if form == "msgpack" else str)
    return decode(file if isinstance(file, bytes) else base64.b64decode(file, validate=True))


@pytest.mark.parametrize("form", FORMS)
async def test_steps_take_and_send_files(server, form, peer_of) -> None:
    async with peer_of(server, form) as peer:
        start = {"frames": [png(FRAME, form)]}
        await peer.ask("reset", session_id="a", seed=7, start=start)
        step = {"session_id": "a", "action": 1, "step": 1, "include": ["frame"]}
        seen = {**step, "observation": png(FRAME, form)}
        as_array = (await peer.ask("step", **seen))["body"]
        as_file = (await peer.ask("step", **seen, frame_format="png"))["body"]
        shown = as_array.pop("frame")
        shown = unpack(shown) if form == "msgpack" else np.array(shown)
        np.testing.assert_array_equal(opened(as_file.pop("frame"), form), shown)
        assert as_file == as_array
        await peer.ask("reset_batch", session_ids=["b", "c"], seeds=[1, 2])
        columns = {"session_ids": ["b", "c"], "actions": [1, 0], "include": ["frame"]}
        seen = {"observations": [png(FRAME, form), png(FRAME, form)], "frame_format": "png"}
        batch = await peer.ask("step_batch", **columns, **seen)
        assert [opened(one, form).shape for one in batch["body"]["frames"]] == [(8, 8, 3)] * 2
        asked = {"futures": 2, "horizon": 2, "include": ["frames"], "frame_format": "png"}
        futures = await peer.ask("sample", session_id="a", **asked)
        assert [len(future) for future in futures["body"]["frames"]] == [2, 2]


async def test_a_wrong_file_is_an_error_and_the_socket_goes_on(server, peer_of) -> None:
    async with peer_of(server) as peer:
        for frame, words in (
            (png(np.zeros((600, 600, 3), np.uint8), "json"), "600 x 600 pixels"),
            ({"png": "iVBORw0KGgo="}, "damaged"),
        ):
            answer = await peer.ask("reset", start={"frames": [frame]})
            assert (answer["status"], answer["body"]["code"]) == (422, "invalid_request")
            assert words in answer["body"]["detail"]
        assert (await peer.ask("worlds"))["status"] == 200


@pytest.mark.parametrize(("count", "inline"), [(1, True), (9, False)])
async def test_many_files_are_decoded_beside_the_event_loop(
    server, count, inline, peer_of, monkeypatch
) -> None:
    threads = set[str]()

    def decoded(file: bytes) -> np.ndarray:
        threads.add(threading.current_thread().name)
        return decode(file)

    monkeypatch.setattr(pictures, "decode", decoded)
    async with peer_of(server) as peer:
        start = {"frames": [png(FRAME, "json")] * count, "actions": [1] * (count - 1)}
        assert (await peer.ask("reset", start=start))["status"] == 200
    (name,) = threads
    assert name.endswith("(run)") is inline  # the thread of the server's event loop


async def test_an_episode_of_openenv_takes_and_shows_files(server) -> None:
    url = f"ws://127.0.0.1:{server.port}/ws"
    async with connect(url, max_size=None, open_timeout=PATIENCE_S) as socket:

        async def ask(kind: str, **data: Any) -> Any:
            await socket.send(orjson.dumps({"type": kind, "data": data}).decode())
            answer = orjson.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))
            assert answer["type"] == "observation", answer
            return answer["data"]["observation"]

        frames = [png(FRAME, "json")]
        begun = await ask("reset", start={"frames": frames}, include=["frame"], frame_format="png")
        stepped = await ask("step", action=1, observation=frames[0])
        plain = await ask("step", action=1, frame_format="array")
    assert opened(begun["frame"], "json").shape == (8, 8, 3)
    assert opened(stepped["frame"], "json").shape == (8, 8, 3)
    assert np.shape(plain["frame"]) == (8, 8, 3)
