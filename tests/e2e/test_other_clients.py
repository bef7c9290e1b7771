"""Clients of other projects, unmodified, dream against the real command as plain HTTP does.

requirements-clients.txt has them.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import httpx
import numpy as np
import pytest

triton = pytest.importorskip("tritonclient.http", reason="needs requirements-clients.txt")
triton_aio = pytest.importorskip("tritonclient.http.aio", reason="needs requirements-clients.txt")
openenv = pytest.importorskip("openenv", reason="needs requirements-clients.txt")

ROOT = Path(__file__).parents[2]
TAKECOVER = ROOT / "bundles" / "takecover"
PRINTED = "127.0.0.1:8000"
PATIENCE_S = 300
WORLD, DREAMS, STEPS = "takecover", 64, 100
WILD = {"temperature": 2.0}  # at which some dreams end
ACTIONS = np.random.default_rng(0).integers(3, size=(DREAMS, STEPS))


class Row(NamedTuple):
    """What a reset or a step returned, to the bit."""

    latent: bytes
    reward: bytes = b""
    terminated: bool = False

    @classmethod
    def of(cls, latent: Any, reward: Any, terminated: Any) -> "Row":
        latent, reward = np.asarray(latent, np.float32), np.asarray(reward, np.float32)
        return cls(latent.tobytes(), reward.tobytes(), bool(terminated))


class Http:
    """The dream of /reset and /step."""

    def __init__(self, http: aiohttp.ClientSession, number: int) -> None:
        self.http, self.session_id = http, f"http-{number}"

    async def post(self, path: str, **fields: Any) -> dict[str, Any]:
        async with self.http.post(path, json={"session_id": self.session_id, **fields}) as response:
            content: dict[str, Any] = await response.json()
            assert response.status == 200, content
            return content

    async def begin(self, seed: int) -> Row:
        return Row.of((await self.post("/reset", seed=seed, **WILD))["latent"], [], False)

    async def step(self, action: int) -> Row:
        result = await self.post("/step", action=action)
        return Row.of(result["latent"], result["reward"], result["terminated"])

    async def end(self) -> None:
        async with self.http.delete(f"/sessions/{self.session_id}") as response:
            assert response.status == 204


class Triton:
    """A sequence of tritonclient."""

    def __init__(self, client: Any, number: int) -> None:
        self.client, self.sequence_id = client, number + 1

    async def infer(self, *inputs: Any, seed: int | None = None, **options: Any) -> Any:
        parameters = {} if seed is None else {"parameters": {"seed": seed, **WILD}}
        return await self.client.infer(
            WORLD, list(inputs), sequence_id=self.sequence_id, **parameters, **options
        )

    async def begin(self, seed: int) -> Row:
        result = await self.infer(seed=seed, sequence_start=True)
        return Row.of(result.as_numpy("latent"), [], result.as_numpy("terminated")[0])

    async def step(self, action: int) -> Row:
        result = await self.infer(action_of(action))
        return Row.of(*map(result.as_numpy, ("latent", "reward", "terminated")))

    async def end(self) -> None:
        await self.infer(sequence_end=True)


class OpenEnv:
    """An environment of openenv."""

    def __init__(self, env: Any) -> None:
        self.env = env

    async def begin(self, seed: int) -> Row:
        return Row.of((await self.env.reset(seed=seed, **WILD)).observation["latent"], [], False)

    async def step(self, action: int) -> Row:
        result = await self.env.step({"action": action})
        return Row.of(result.observation["latent"], result.reward, result.done)

    async def end(self) -> None:
        await self.env.close()


async def dream(client: Any, number: int) -> list[Row]:
    """Return the rows of one client's dream; one that ends starts over, with another seed."""
    rows = [await client.begin(number)]
    for i, action in enumerate(ACTIONS[number].tolist()):
        if rows[-1].terminated:
            rows.append(await client.begin(1000 * i + number))
        rows.append(await client.step(action))
    await client.end()
    return rows


async def dreams(clients: list[Any]) -> list[list[Row]]:
    """Return the dreams of all clients, at once."""
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.gather(*(dream(client, i) for i, client in enumerate(clients)))


def action_of(action: int, binary: bool = True) -> Any:
    tensor = triton.InferInput("action", [1], "INT64")
    return tensor.set_data_from_numpy(np.array([action]), binary_data=binary)


@pytest.fixture(scope="module")
def url(serve) -> Iterator[str]:
    if not TAKECOVER.is_dir():
        pytest.skip("bundles/takecover is not there")
    with serve(TAKECOVER) as served:
        yield served.url


@pytest.fixture(scope="module")
def wanted(url: str) -> list[list[Row]]:
    """Return the dreams of plain HTTP."""

    async def run() -> list[list[Row]]:
        async with aiohttp.ClientSession(url) as http:
            return await dreams([Http(http, i) for i in range(DREAMS)])

    rows = asyncio.run(run())
    assert max(map(len, rows)) > STEPS + 1, "no dream ended, so starting over is not compared"
    return rows


@pytest.mark.slow
def test_tritonclient_dreams_64_sequences_at_once_bit_for_bit(url, wanted):
    async def run() -> list[list[Row]]:
        async with triton_aio.InferenceServerClient(urlsplit(url).netloc) as client:
            return await dreams([Triton(client, i) for i in range(DREAMS)])

    assert asyncio.run(run()) == wanted
    for i in range(DREAMS):
        assert httpx.get(f"{url}/sessions/{i + 1}").status_code == 404


@pytest.mark.slow
def test_openenv_dreams_64_episodes_at_once_bit_for_bit(url, wanted):
    async def run() -> list[list[Row]]:
        environments = [openenv.GenericEnvClient(base_url=url) for _ in range(DREAMS)]
        await asyncio.gather(*(environment.connect() for environment in environments))
        return await dreams([OpenEnv(environment) for environment in environments])

    assert asyncio.run(run()) == wanted


def test_tritonclient_reads_all_that_it_asks_for(url):
    with triton.InferenceServerClient(urlsplit(url).netloc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(WORLD)
        assert not client.is_model_ready("mars")
        (listed,) = client.get_model_repository_index()
        assert client.is_model_ready(WORLD, listed["version"])
        assert client.get_model_metadata(WORLD, listed["version"])["name"] == WORLD
        assert client.get_model_config(WORLD)["sequence_batching"] == {}
        assert "sequence" in client.get_server_metadata()["extensions"]
        outputs = [
            triton.InferRequestedOutput("frame"),
            triton.InferRequestedOutput("latent", binary_data=False),
            triton.InferRequestedOutput("state.h"),
        ]
        options = {"outputs": outputs, "sequence_id": "one", "request_id": "first"}
        for compression in ("gzip", "deflate"):
            result = client.infer(
                WORLD,
                [action_of(1, binary=compression == "gzip")],
                sequence_start=compression == "gzip",
                request_compression_algorithm=compression,
                response_compression_algorithm=compression,
                **options,
            )
            assert result.as_numpy("frame").shape == (64, 64, 3)
            assert result.as_numpy("frame").dtype == np.uint8
            assert result.as_numpy("latent").shape == (64,)
            assert result.as_numpy("state.h").shape == (512,)
            assert result.get_response()["id"] == "first"
        client.infer(WORLD, [], sequence_id="one", sequence_end=True)


def test_tritonclient_shows_what_was_wrong(url):
    wrong = triton.InferInput("action", [1], "FP32")
    wrong.set_data_from_numpy(np.array([1], np.float32))
    with triton.InferenceServerClient(urlsplit(url).netloc) as client:
        for inputs, options, status, said in [
            ([action_of(1)], {}, 404, "no session 77"),
            ([action_of(9)], {"sequence_start": True}, 422, "action 9 is not in Discrete"),
            ([wrong], {"sequence_start": True}, 422, "must be INT64 \\[1\\], not FP32"),
            ([action_of(1)], {"model_version": "0"}, 404, "not 0"),
        ]:
            with pytest.raises(triton.InferenceServerException, match=said) as raised:
                client.infer(WORLD, inputs, sequence_id=77, **options)
            assert raised.value.status() == str(status)


def test_openenv_shows_what_was_wrong_and_goes_on(url):
    with openenv.GenericEnvClient(base_url=url).sync() as env:
        with pytest.raises(RuntimeError, match="no episode has begun; send a reset first"):
            env.step({"action": 1})
        env.reset(seed=7)
        with pytest.raises(RuntimeError, match=r"not in Discrete.*\(code: invalid_action\)"):
            env.step({"action": 9})
        assert env.step({"action": 1}).metadata["step"] == 1
        assert env.state()["step_count"] == 1


def examples() -> list[str]:
    """Return the programs in docs/clients.md."""
    text = (ROOT / "docs" / "clients.md").read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_programs_of_the_documentation_run_as_printed(url):
    programs = examples()
    assert len(programs) == 2
    for program in programs:
        assert PRINTED in program
        text = program.replace(PRINTED, urlsplit(url).netloc)
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        assert re.search(r"^\d+ steps, frame \(64, 64, 3\)$", done.stdout, re.MULTILINE)
