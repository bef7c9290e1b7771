"""A server on a real socket, and clients of its /stream."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
)
from typing import Any

import msgpack
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from dreamserve.api.codec import encode
from dreamserve.api.examples import examples
from dreamserve_protocol.arrays import pack, unpack
from dreamserve_protocol.verbs import BY_NAME

PATIENCE_S = 30.0
INSTANCE = re.compile(r" on server [^ ]+(?=: )")
VOLATILE = {"elapsed_ms", "age_s", "idle_s", "request_id"}


@pytest.fixture(scope="module")
def server(listening: Any) -> Iterator[Any]:
    """Return a server with the worlds `fake` and `box`."""
    with listening() as served:
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
async def _peer_of(served: Any, form: str = "json", **options: Any) -> AsyncIterator[Peer]:
    options = {"compression": None, "max_size": None, "open_timeout": PATIENCE_S, **options}
    async with connect(f"ws://127.0.0.1:{served.port}/stream", **options) as socket:
        yield Peer(socket, form)


def _listed(value: Any) -> Any:
    """Return a body with packed arrays as lists, without what always differs."""
    if isinstance(value, dict) and value.keys() == {"dtype", "shape", "data"}:
        return orjson.loads(encode({"array": unpack(value)}, as_msgpack=False))["array"]
    if isinstance(value, dict):
        return {name: _listed(one) for name, one in value.items() if name not in VOLATILE}
    if isinstance(value, str):
        return INSTANCE.sub("", value)
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
