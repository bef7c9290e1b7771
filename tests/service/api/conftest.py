"""The application over fake worlds, called without a socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest

from dreamserve.api.app import create_app
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.settings import Settings

NAN_ACTION, FAILING_ACTION = 1, 2
Serving = Callable[..., AbstractAsyncContextManager["Client"]]


class Client:
    """An HTTP client that speaks JSON or msgpack."""

    def __init__(self, http: httpx.AsyncClient, app: Any) -> None:
        self.http, self.app = http, app

    async def post(self, path: str, fields: Any, form: str = "json", **headers: str) -> Any:
        """Post `fields` in one form, asking for the answer in the same."""
        if form == "json":
            return await self.http.post(path, json=fields, headers=headers)
        kind = "application/msgpack"
        body = msgpack.packb(fields, default=_pack)
        headers = {"content-type": kind, "accept": kind, **headers}
        return await self.http.post(path, content=body, headers=headers)

    async def reset(self, **fields: Any) -> dict[str, Any]:
        """Begin a dream and return the answer."""
        response = await self.post("/reset", fields)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


def _pack(value: np.ndarray) -> dict[str, Any]:
    return {"dtype": value.dtype.str, "shape": list(value.shape), "data": value.tobytes()}


def content(response: httpx.Response) -> dict[str, Any]:
    """Return an answer's fields, arrays of either form as numpy arrays."""
    if response.headers["content-type"] == "application/msgpack":
        return msgpack.unpackb(response.content, object_hook=_unpack)
    assert response.headers["content-type"] == "application/json", response.text
    return {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in response.json().items()
    }


def _unpack(value: dict[str, Any]) -> Any:
    if value.keys() == {"dtype", "shape", "data"}:
        return np.frombuffer(value["data"], value["dtype"]).reshape(value["shape"])
    return value


@asynccontextmanager
async def _serving(*worlds: World, wait: bool = True, **changed: Any) -> AsyncIterator[Client]:
    settings = Settings.load(**changed)
    engine = Engine(
        list(worlds) or [fake_world(), fake_world("box", discrete=False)],
        capacity=settings.capacity,
        session_ttl_s=settings.session_ttl_s,
        max_queue=settings.max_queue,
        max_batch=settings.max_batch,
        max_jobs=settings.max_jobs,
    )
    app = create_app(engine, settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.app.router.lifespan_context(app.app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as http,
    ):
        async with asyncio.timeout(5):
            while wait and not engine.ready:
                await asyncio.sleep(0.001)
        yield Client(http, app)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def serving() -> Serving:
    """Return what serves worlds (the fake ones by default) under changed settings."""
    return _serving


@pytest.fixture(name="content")
def content_of() -> Callable[[httpx.Response], dict[str, Any]]:
    """Return what reads an answer of either form."""
    return content


@pytest.fixture
async def client(serving: Serving) -> AsyncIterator[Client]:
    """A client of a server with the worlds `fake` (Discrete) and `box` (Box)."""
    async with serving() as client:
        yield client
