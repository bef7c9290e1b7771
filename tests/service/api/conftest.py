"""The application with fake worlds, called without a socket."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest

from dreamserve.api.access.keys import digest_of
from dreamserve.api.app import App, create_app
from dreamserve.engine.configured import engine_of
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.settings import Settings
from dreamserve_protocol.arrays import pack, unpack
from dreamserve_protocol.pages import PAGES
from dreamserve_protocol.verbs import BY_NAME, VERBS

MSGPACK = "application/msgpack"
OF_THE_DOOR = frozenset(
    {
        "bad_request",
        "forbidden_origin",
        "not_found",
        "method_not_allowed",
        "unsupported_media_type",
        "too_large",
    }
)
OF_INFERENCE = ("reset", "step", "delete", "world")  # verbs that a request under /v2 stands for
ROWS_OF = {"/step/batch": "step", "/reset/batch": "reset"}
Serving = Callable[..., AbstractAsyncContextManager["Client"]]


class Client:
    """An HTTP client for JSON and msgpack that accepts only the declared errors."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.unforeseen: set[str] = set()  # codes that a test provokes although none declares them
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://test",
            event_hooks={"response": [self._check_errors]},
        )

    async def post(self, path: str, fields: Any, form: str = "json", **headers: str) -> Any:
        """Post `fields` in one form and request the response in the same."""
        if form == "json":
            return await self.http.post(path, json=fields, headers=headers)
        body = msgpack.packb(fields, default=pack)
        headers = {"content-type": MSGPACK, "accept": MSGPACK, **headers}
        return await self.http.post(path, content=body, headers=headers)

    async def reset(self, **fields: Any) -> dict[str, Any]:
        """Start a dream and return the result."""
        response = await self.post("/reset", fields)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def _check_errors(self, response: httpx.Response) -> None:
        """Assert that its verb or page declares the error, and the errors of rows."""
        await response.aread()
        method, path = response.request.method, response.request.url.path
        if response.status_code >= 400 and method != "HEAD":
            code = response.json()["code"]
            declared = OF_THE_DOOR | declared_errors(method, path) | self.unforeseen
            assert code in declared, f"{method} {path} does not declare {code}: {response.text}"
        elif path in ROWS_OF and response.status_code == 200:
            declared = {error.code for error in BY_NAME[ROWS_OF[path]].all_errors}
            assert {error["code"] for error in _fields(response)["errors"]} <= declared


def declared_errors(method: str, path: str) -> set[str]:
    """Return the codes that a path's verb or page declares."""
    if path.startswith("/v2"):
        verbs = {error.code for name in OF_INFERENCE for error in BY_NAME[name].all_errors}
        return verbs | declared_errors("GET", "/readyz")
    for verb in VERBS:
        if method == verb.method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", verb.path), path):
            return {error.code for error in verb.all_errors}
    return {error.code for page in PAGES if page.path == path for error in page.errors}


def _fields(response: httpx.Response) -> dict[str, Any]:
    if response.headers["content-type"] == MSGPACK:
        return msgpack.unpackb(response.content, object_hook=_unpacked)
    assert response.headers["content-type"] == "application/json", response.text
    return response.json()


def content(response: httpx.Response) -> dict[str, Any]:
    """Return a response's fields, with arrays of either form as numpy arrays."""
    fields = _fields(response)
    if response.headers["content-type"] == MSGPACK:
        return fields
    return {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in fields.items()
    }


def _unpacked(value: dict[str, Any]) -> Any:
    return unpack(value) if value.keys() == {"dtype", "shape", "data"} else value


@asynccontextmanager
async def _serving(*worlds: World, wait: bool = True, **changed: Any) -> AsyncIterator[Client]:
    settings = Settings.load(**{"allowed_hosts": "test", **changed})
    engine = engine_of(
        list(worlds) or [fake_world(), fake_world("box", discrete=False)],
        settings,
    )
    app = create_app(engine, settings)
    client = Client(app)
    async with app.router.lifespan_context(app), client.http:
        async with asyncio.timeout(30):
            while wait and not engine.ready:
                await asyncio.sleep(0.001)
        yield client


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def serving() -> Serving:
    """Return a function that serves worlds (by default fake ones) with changed settings."""
    return _serving


@pytest.fixture(name="content")
def content_of() -> Callable[[httpx.Response], dict[str, Any]]:
    """Return a function that reads a response of either form."""
    return content


@pytest.fixture
async def client(serving: Serving) -> AsyncIterator[Client]:
    """Return a client of a server with the worlds `fake` (Discrete) and `box` (Box)."""
    async with serving() as client:
        yield client


WriteKeys = Callable[..., Path]


@pytest.fixture
def write_keys(tmp_path: Path) -> WriteKeys:
    """Return a function that writes a file of keys: name → (key, …) or {key, other fields}."""

    def write(**keys: Any) -> Path:
        path = tmp_path / "keys.toml"
        entries = []
        for name, given in keys.items():
            fields = dict(given) if isinstance(given, dict) else {"key": given}
            for key in fields.pop("key").split():
                lines = [f'name = "{name}"', f'sha256 = "{digest_of(key.encode())}"']
                lines += [f"{field} = {str(value).lower()}" for field, value in fields.items()]
                entries.append("\n".join(["[[keys]]", *lines]))
        path.write_text("\n".join(entries))
        return path

    return write


@pytest.fixture
def keys_file(write_keys: WriteKeys) -> str:
    """Return a file with the keys `ka` and `ka2` of ann, `kb` of ben, and an administrator's."""
    return str(write_keys(ann="ka ka2", ben="kb", root={"key": "kr", "admin": True}))
