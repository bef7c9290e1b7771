"""Frames as PNG files in the SDK: their bytes as arguments, and as results when asked for."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

import dreamserve_client as sdk
from dreamserve.engine.fake import fake_world

WAYS = {
    "http": {},
    "http, JSON": {"encoding": "json"},
    "stream": {"transport": "stream"},
    "stream, JSON": {"transport": "stream", "encoding": "json"},
    "in process": None,
}
FRAMES = np.random.default_rng(7).integers(0, 256, (2, 8, 8, 3), np.uint8)


def file_of(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


def opened(file: bytes) -> np.ndarray:
    assert isinstance(file, bytes)
    with Image.open(io.BytesIO(file)) as image:
        return np.array(image)


FILES = [file_of(frame) for frame in FRAMES]


def client_of(url: str, way: str, **options) -> sdk.DreamClient:
    chosen = WAYS[way]
    if chosen is None:
        return sdk.DreamClient(transport=sdk.InProcess(fake_world()), **options)
    return sdk.DreamClient(url, **chosen, **options)


@pytest.fixture(params=WAYS)
def way(request) -> str:
    return request.param


def latents(client: sdk.DreamClient, frames, start) -> list:
    """Return what every verb that takes frames makes of them."""
    begin = sdk.Start(frames=start, actions=[1])
    first = client.reset(session_id="a", seed=1, start=begin)
    after = client.step("a", 1, observation=frames[0])
    client.reset_batch(session_ids=["b", "c"], seeds=[1, 2])
    batch = client.step_batch(["b", "c"], [1, 0], observations=start)
    futures = client.sample(start=begin, futures=2, horizon=2, seed=1)
    returns = client.rollout(policy="random", start=begin, max_steps=3, seeds=[1, 2]).returns
    results = [first.latent, after.latent, batch.latents, futures.latents, returns]
    return [result.tolist() for result in results]


def test_a_files_bytes_are_an_argument_wherever_a_frame_is(url, way):
    with client_of(url, way) as client:
        expected = latents(client, FRAMES, FRAMES)
        assert latents(client, FILES, FILES) == expected
        marked = [{"png": file} for file in FILES]
        assert latents(client, marked, marked) == expected


def test_a_wrong_file_is_refused_alike(url, way):
    with client_of(url, way, max_retries=0) as client:
        client.reset(session_id="a")
        for file, words in ((FILES[0][:-1], "cut off"), (b"GIF89a", "not a PNG file")):
            with pytest.raises(sdk.InvalidRequestError, match=f"observation: .*{words}"):
                client.step("a", 1, observation=file)


def test_a_call_may_have_its_frames_sent_as_files_and_returns_arrays(url, way):
    with client_of(url, way) as client:
        dream = client.dream(seed=7, include=["frame"])
        sent = client.dream(seed=7, include=["frame"], frame_format="png")
        np.testing.assert_array_equal(sent.first.frame, dream.first.frame)
        assert sent.first.frame.dtype == np.uint8
        sent.first.frame[:] = 0  # it is the caller's
        many = {"session_ids": ["b", "c"], "seeds": [1, 2], "include": ["frame"]}
        frames = client.dreams(**many).first.frames
        np.testing.assert_array_equal(
            client.dreams(**many, frame_format="png").first.frames, frames
        )


def test_a_client_may_ask_for_the_files_themselves(url, way):
    with client_of(url, way) as client, client_of(url, way, frames="png") as filing:
        expected = client.reset(session_id="a", seed=7, include=["frame"])
        result = filing.reset(session_id="a", seed=7, include=["frame"])
        np.testing.assert_array_equal(opened(result.frame), expected.frame)
        assert filing.step("a", 1).frame is None
        futures = filing.sample("a", futures=2, horizon=3, include=["frames", "most_likely"])
        assert [[opened(one).shape for one in future] for future in futures.frames] == [
            [(8, 8, 3)] * 3
        ] * 2
        assert [opened(one).shape for one in futures.most_likely.frames] == [(8, 8, 3)] * 3
        shown = filing.step("a", 1, include=["frame"]).frame
        again = filing.with_options(frames="array").step("a", 1, observation=shown)
        assert again.latent.shape == (4,)
        begun = filing.dreams(2, include=["frame"]).first
        assert [opened(one).shape for one in begun.frames] == [(8, 8, 3)] * 2
        (fork,) = filing.fork("a", include=["frame"]).session_ids
        assert isinstance(filing.snapshot(fork), dict)


@pytest.mark.parametrize("kept", [False, True])
def test_the_async_client_takes_and_returns_the_same(url, way, kept):
    async def dream() -> tuple:
        chosen = WAYS[way]
        transport = {"transport": sdk.AsyncInProcess(fake_world())} if chosen is None else chosen
        address = () if chosen is None else (url,)
        options = {"frames": "png"} if kept else {}
        async with sdk.AsyncDreamClient(*address, **transport, **options) as client:
            begin = sdk.Start(frames=FILES, actions=[1])
            first = await client.reset(session_id="a", seed=1, start=begin, include=["frame"])
            after = await client.step("a", 1, observation=FILES[0], frame_format="png")
            return first, after

    with client_of(url, way) as client:
        begin = sdk.Start(frames=FRAMES, actions=[1])
        expected = client.reset(session_id="a", seed=1, start=begin, include=["frame"])
        stepped = client.step("a", 1, observation=FRAMES[0])
    first, after = asyncio.run(dream())
    assert after.latent.tolist() == stepped.latent.tolist()
    np.testing.assert_array_equal(opened(first.frame) if kept else first.frame, expected.frame)


def test_another_form_of_frames_is_refused():
    with pytest.raises(sdk.ConfigurationError, match="frames must be 'array' or 'png'"):
        sdk.DreamClient("http://127.0.0.1:1", frames="jpeg")


@pytest.mark.parametrize("way", WAYS)
def test_the_first_frames_of_forks_are_files_too(url, way):
    with client_of(url, way, frames="png") as client, client.dream(seed=1) as dream:
        forks = dream.fork(2, include=["frame"])
        shown = opened(dream.step(1, include=["frame"]).frame)
        for fork in forks:
            assert opened(fork.first.frame).shape == shown.shape
            fork.close()
