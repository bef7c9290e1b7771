"""A server on a real socket, and clients of its /stream."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Any

import httpx
import msgpack
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from dreamserve.api.app import App, create_app
from dreamserve.api.async_engine import engine_of
from dreamserve.api.codec import encode
from dreamserve.api.examples import examples
from dreamserve.api.server import Server, bind
from dreamserve.engine.fake import fake_world
from dreamserve.engine.world import World
from dreamserve.settings import Settings
from dreamserve_protocol.arrays import pack, unpack
from dreamserve_protocol.verbs import BY_NAME

PATIENCE_S = 30.0
VOLATILE = {"elapsed_ms", "age_s", "idle_s", "request_id"}


@dataclass
class Listening:
    """A server on its own port, in its own thread."""

    app: App
    port: int

    @property
    def url(self) -> str:
        scheme = "https" if self.app.service.settings.tls_cert else "http"
        return f"{scheme}://127.0.0.1:{self.port}"


@contextmanager
def _listening(*worlds: World, tls_trust: Any = True, **changed: Any) -> Iterator[Listening]:
    chosen = Settings.load(**changed)
    engine = engine_of(list(worlds) or [fake_world(), fake_world("box", discrete=False)], chosen)
    app, started = create_app(engine, chosen), threading.Event()
    listening = bind("127.0.0.1", 0)
    server = Server(app, app.service, started.set)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        assert started.wait(PATIENCE_S)
        served = Listening(app, listening.getsockname()[1])
        with httpx.Client(base_url=served.url, timeout=PATIENCE_S, verify=tls_trust) as http:
            for _ in range(10_000):
                if http.get("/readyz").status_code == 200:
                    break
        yield served
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture
def listening() -> Callable[..., AbstractContextManager[Listening]]:
    """Return a context manager that serves worlds (by default fake ones) on a real socket."""
    return _listening


@pytest.fixture(scope="module")
def server() -> Iterator[Listening]:
    """Return a server with the worlds `fake` and `box`."""
    with _listening() as served:
        yield served


class Peer:
    """One socket that speaks JSON or msgpack."""

    def __init__(self, socket: ClientConnection, form: str) -> None:
        self.socket, self.form = socket, form

    async def send(self, question: Any) -> None:
        if self.form == "json":
            await self.socket.send(orjson.dumps(question).decode())
        else:
            await self.socket.send(msgpack.packb(question, default=pack))

    async def receive(self) -> Any:
        frame = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
        assert isinstance(frame, str) is (self.form == "json"), "not in the question's form"
        return orjson.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)

    async def ask(self, verb: str, **body: Any) -> Any:
        await self.send({"id": verb, "verb": verb, "body": body})
        answer = await self.receive()
        assert answer["id"] == verb
        return answer


@asynccontextmanager
async def _peer_of(served: Listening, form: str = "json", **options: Any) -> AsyncIterator[Peer]:
    options = {"compression": None, "max_size": None, "open_timeout": PATIENCE_S, **options}
    async with connect(f"ws://127.0.0.1:{served.port}/stream", **options) as socket:
        yield Peer(socket, form)


def _listed(value: Any) -> Any:
    """Return a body with packed arrays as lists, without fields that always differ."""
    if isinstance(value, dict) and value.keys() == {"dtype", "shape", "data"}:
        return orjson.loads(encode({"array": unpack(value)}, as_msgpack=False))["array"]
    if isinstance(value, dict):
        return {name: _listed(one) for name, one in value.items() if name not in VOLATILE}
    return [_listed(one) for one in value] if isinstance(value, list) else value


def _fields_of(name: str) -> dict[str, Any]:
    """Return the fields of a verb's example, including those of its path."""
    verb, body = BY_NAME[name], examples()[name].body
    path = dict.fromkeys(verb.path_fields, "fake" if name == "world" else "a")
    return {**path, verb.body: body} if verb.body is not None else {**path, **body}


@pytest.fixture(scope="session")
def peer_of() -> Callable[..., AbstractAsyncContextManager[Peer]]:
    """Return a function that connects a peer with one form to a server's /stream."""
    return _peer_of


@pytest.fixture(scope="session")
def listed() -> Callable[[Any], Any]:
    """Return a function that makes bodies comparable."""
    return _listed


@pytest.fixture(scope="session")
def fields_of() -> Callable[[str], dict[str, Any]]:
    """Return a function from a verb's name to its example's fields."""
    return _fields_of
