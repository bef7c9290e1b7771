"""Frames as PNG files: taken by every verb that takes frames, and sent by those that show them."""

import base64
import io
import re
import threading
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest
from PIL import Image

from dreamserve_protocol import pictures
from dreamserve_protocol.arrays import pack, unpack
from dreamserve_protocol.png import decode, encode

pytestmark = pytest.mark.anyio
FORMS = ["json", "msgpack"]
INPUT, CAMERA = (8, 8, 3), (16, 24, 3)
VOLATILE = {"session_id", "session_ids", "seeds", "seed"}


def frame(shape: tuple[int, ...] = INPUT, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def by_pillow(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def png(file: bytes, form: str) -> dict[str, Any]:
    return {"png": file if form == "msgpack" else base64.b64encode(file).decode()}


def opened(value: dict[str, Any]) -> np.ndarray:
    """Return the frame that a person's tools see in a response's file."""
    file = value["png"]
    raw = file if isinstance(file, bytes) else base64.b64decode(file, validate=True)
    with Image.open(io.BytesIO(raw)) as image:
        assert image.format == "PNG"
        return np.array(image)


def fields(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    read = msgpack.unpackb if "msgpack" in response.headers["content-type"] else orjson.loads
    result: dict[str, Any] = read(response.content)
    return {name: value for name, value in result.items() if name not in VOLATILE}


def array(value: Any) -> np.ndarray:
    return unpack(value) if isinstance(value, dict) else np.array(value)


def taking(one: Any, several: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return requests of every verb that takes frames, with these."""
    start = {"frames": several, "actions": [1]}
    futures = {"start": start, "futures": 2, "horizon": 2, "seed": 1}
    episodes = {"start": start, "policy": "random", "max_steps": 3, "seeds": [1, 2]}
    return [
        ("/reset", {"session_id": "a", "seed": 1, "start": start, "include": ["state"]}),
        ("/step", {"session_id": "a", "action": 1, "observation": one}),
        ("/reset/batch", {"session_ids": ["b", "c"], "seeds": [1, 2]}),
        ("/step/batch", {"session_ids": ["b", "c"], "actions": [1, 0], "observations": several}),
        ("/sample", futures),
        ("/rollout", {**episodes, "include": ["trajectories"]}),
    ]


SHOWING = [
    ("/reset", {"session_id": "a", "seed": 1, "include": ["frame"]}),
    ("/step", {"session_id": "a", "action": 1, "include": ["frame"]}),
    ("/reset/batch", {"session_ids": ["b", "c"], "seeds": [1, 2], "include": ["frame"]}),
    ("/step/batch", {"session_ids": ["b", "c"], "actions": [1, 0], "include": ["frame"]}),
    ("/sample", {"session_id": "a", "futures": 2, "horizon": 3, "include": ["frames"]}),
    ("/sessions/a/fork", {"session_ids": ["d"], "include": ["frame"]}),
    ("/sessions/a/rewind", {"steps": 0, "include": ["frame"]}),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [INPUT, CAMERA], ids=["input", "camera"])
async def test_every_verb_that_takes_a_frame_takes_its_file(client, form, shape) -> None:
    frames = [frame(shape, seed) for seed in (1, 2)]
    files = [png(by_pillow(one), form) for one in frames]
    plain = [one.tolist() for one in frames] if form == "json" else np.stack(frames)
    packed = plain if form == "json" else pack(np.stack(frames))
    one = frames[0].tolist() if form == "json" else pack(frames[0])
    by_file, by_array = taking(files[0], files), taking(one, packed)
    for (path, with_file), (_, with_array) in zip(by_file, by_array, strict=True):
        expected = fields(await client.post(path, with_array, form))
        if path == "/step":  # from the same state again
            await client.post("/reset", by_array[0][1], form)
        elif path == "/step/batch":
            await client.post("/reset/batch", by_array[2][1], form)
        assert fields(await client.post(path, with_file, form)) == expected, path


@pytest.mark.parametrize("form", FORMS)
async def test_every_verb_that_shows_frames_sends_files_when_asked(client, form) -> None:
    for path, body in SHOWING:
        if "step" in path:
            body = {**body, **({"step": 1} if path == "/step" else {"steps": [1, 1]})}
        if path == "/sample":
            body = {**body, "seed": 3}
        expected = fields(await client.post(path, body, form))
        result = fields(await client.post(path, {**body, "frame_format": "png"}, form))
        name = "frames" if "frames" in result else "frame"
        frames, files = array(expected.pop(name)), result.pop(name)
        assert result == expected, path
        if frames.ndim == 3:
            np.testing.assert_array_equal(opened(files), frames)
        elif frames.ndim == 4:
            np.testing.assert_array_equal([opened(one) for one in files], frames)
        else:
            shown = [[opened(one) for one in future] for future in files]
            np.testing.assert_array_equal(shown, frames)


async def test_a_restarted_dreams_last_frame_is_a_file_too(client) -> None:
    ids = {"session_ids": ["a", "b"]}
    await client.post("/reset/batch", {**ids, "seeds": [1, 2], "max_steps": 1})
    body = {**ids, "actions": [1, 1], "on_end": "restart", "include": ["frame"]}
    result = fields(await client.post("/step/batch", {**body, "frame_format": "png"}))
    assert [opened(one).shape for one in result["final"]["frames"]] == [INPUT, INPUT]


async def test_the_text_in_json_can_be_put_in_a_data_url(client) -> None:
    shown = await client.reset(include=["frame"], frame_format="png")
    assert shown["frame"].keys() == {"png"}
    assert shown["frame"]["png"].startswith("iVBORw0KGgo")  # base64 of the signature
    assert opened(shown["frame"]).shape == INPUT


async def test_a_step_sent_again_may_have_its_frame_in_the_other_form(client) -> None:
    await client.reset(session_id="a", seed=7)
    body = {"session_id": "a", "action": 1, "step": 1, "include": ["frame"]}
    as_array = fields(await client.post("/step", body))
    as_file = fields(await client.post("/step", {**body, "frame_format": "png"}))
    np.testing.assert_array_equal(opened(as_file["frame"]), as_array["frame"])


async def test_an_observation_sent_again_as_a_file_is_the_same_step(client) -> None:
    await client.reset(session_id="a", seed=7)
    body = {"session_id": "a", "action": 1, "step": 1}
    seen = frame()
    first = fields(await client.post("/step", {**body, "observation": seen.tolist()}))
    again = await client.post("/step", {**body, "observation": png(by_pillow(seen), "json")})
    assert fields(again) == first


async def test_a_snapshot_holds_its_frame_as_an_array(client) -> None:
    await client.reset(session_id="a", seed=7, include=["frame"], frame_format="png")
    step = {"session_id": "a", "action": 1, "include": ["frame"], "frame_format": "png"}
    shown = fields(await client.post("/step", step))
    kept = (await client.http.get("/sessions/a/snapshot")).json()
    np.testing.assert_array_equal(kept["last_step"]["frame"], opened(shown["frame"]))


async def test_another_format_is_refused(client) -> None:
    response = await client.post("/reset", {"include": ["frame"], "frame_format": "jpeg"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "frame_format" in response.json()["detail"]
    assert "'array' or 'png'" in response.json()["detail"]


def refused(shape: tuple[int, ...], count: int = 1) -> list[dict[str, Any]]:
    return [png(encode(np.zeros(shape, np.uint8)), "json")] * count


@pytest.mark.parametrize(
    ("frames", "status", "words"),
    [
        (refused((500, 900, 3)), 422, "start.frames: .*900 x 500 pixels.*more than 384 pixels"),
        (refused((7, 8, 3)), 422, r"\[16, 24, 3\] \(the camera's.*\[8, 8, 3\].*not \[7, 8, 3\]"),
        (refused((8, 8, 1)), 422, r"not \[8, 8, 1\]"),
        (refused((8, 8, 4)), 422, r"not \[8, 8, 4\]"),
        (refused((8, 8, 3), 101), 413, "101 PNG files, the limit is 100 frames"),
        (refused((16, 24, 3), 90), 413, "PNG files of 103680 bytes.*the limit is 100000"),
        ([{"png": "aGVsbG8="}], 422, "start.frames: this is not a PNG file"),
    ],
)
async def test_a_wrong_file_is_refused_with_a_reason(serving, frames, status, words) -> None:
    async with serving(max_frames=100, max_body_bytes=100_000) as client:
        actions = [1] * (len(frames) - 1)
        body = {"start": {"frames": frames, "actions": actions}}
        response = await client.post("/reset", body)
        assert response.status_code == status, response.text
        assert re.search(words, response.json()["detail"]), response.json()["detail"]


@pytest.mark.parametrize(("count", "inline"), [(1, True), (9, False)])
async def test_many_files_are_decoded_in_another_thread(client, count, inline, monkeypatch) -> None:
    threads = set[int]()

    def decoded(file: bytes) -> np.ndarray:
        threads.add(threading.get_ident())
        return decode(file)

    monkeypatch.setattr(pictures, "decode", decoded)
    files = [png(encode(frame()), "json")] * count
    await client.reset(start={"frames": files, "actions": [1] * (count - 1)})
    assert (threads == {threading.get_ident()}) is inline
    assert len(threads) == 1
