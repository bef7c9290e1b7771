"""What a WebSocket's peer sends is counted first, and handled between the work of others."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import orjson
import pytest

from dreamserve.api import codec
from dreamserve.api.access.callers import ANYONE
from dreamserve.api.elements import LARGE_BYTES
from dreamserve.api.messages import id_in
from dreamserve.api.openenv import Episodes
from dreamserve.api.png import PngReader
from dreamserve.api.stream import REFUSED_AT_ONCE, Stream

pytestmark = pytest.mark.anyio
SENT = 320
LATENT = [0.5] * LARGE_BYTES


@contextmanager
def counting() -> Iterator[list[int]]:
    """Count the iterations of the event loop."""
    ticks = [0]

    async def tick() -> None:
        while True:
            ticks[0] += 1
            await asyncio.sleep(0)

    task = asyncio.get_running_loop().create_task(tick())
    yield ticks
    task.cancel()


async def answers_of(application: Any, messages: list[str]) -> list[dict[str, Any]]:
    """Send messages that are all there already, and return the answers."""
    waiting = [{"type": "websocket.connect"}]
    waiting += [{"type": "websocket.receive", "text": text} for text in messages]
    answers: list[dict[str, Any]] = []
    answered = asyncio.Event()

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        await answered.wait()
        return {"type": "websocket.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            answers.append(orjson.loads(message["text"]))
            if len(answers) == len(messages):
                answered.set()

    state = {"request_id": "r", "caller": ANYONE}
    async with asyncio.timeout(20):
        await application({"type": "websocket", "state": state, "headers": []}, receive, send)
    return answers


@pytest.mark.parametrize(("kind", "at_once"), [(Episodes, 1), (Stream, REFUSED_AT_ONCE)])
async def test_messages_that_are_refused_leave_the_event_loop_to_others(
    client, kind, at_once
) -> None:
    with counting() as ticks:
        answers = await answers_of(kind(client.app.service), [""] * SENT)
    assert len(answers) == SENT
    assert ticks[0] >= SENT // at_once


async def test_a_large_message_of_an_environment_is_validated_in_a_thread(
    client, monkeypatch
) -> None:
    quick: list[bool] = []
    built = PngReader.built

    async def recorded(self: Any, build: Any, is_quick: bool) -> Any:
        quick.append(is_quick)
        return await built(self, build, is_quick)

    monkeypatch.setattr(PngReader, "built", recorded)
    resets = [{"seed": 1}, {"start": {"latent": LATENT}}]
    messages = [orjson.dumps({"type": "reset", "data": data}).decode() for data in resets]
    small, large = await answers_of(Episodes(client.app.service), messages)
    assert (small["type"], large["type"]) == ("observation", "error")
    assert quick == [True, False]


@pytest.mark.parametrize("message", ["[]", "{", '{"verb": "worlds"}', '{"id": 1, "verb": "fly"}'])
async def test_messages_without_a_valid_request_count_in_the_rate_limit(
    listening, peer_of, message
) -> None:
    with listening(requests_per_s=0.01, request_burst=4) as served:
        async with peer_of(served) as peer:  # whose handshake is the first request
            codes = []
            for _ in range(5):
                await peer.socket.send(message)
                codes.append((await peer.receive())["body"]["code"])
    assert codes == [*["invalid_request"] * 3, *["rate_limited"] * 2]


@pytest.mark.parametrize("form", ["json", "msgpack"])
async def test_a_message_beyond_the_rate_is_answered_by_its_id_and_not_decoded(
    listening, peer_of, monkeypatch, form
) -> None:
    decoded: list[int] = []
    decode = codec.decode

    def recorded(body: bytes, *options: Any) -> Any:
        decoded.append(len(body))
        return decode(body, *options)

    monkeypatch.setattr(codec, "decode", recorded)
    with listening(requests_per_s=0.01, request_burst=1) as served:
        async with peer_of(served, form) as peer:
            large = {"id": "mine", "verb": "reset", "body": {"start": {"latent": LATENT}}}
            await peer.send(large)
            answer = await peer.receive()
    assert (answer["id"], answer["body"]["code"]) == ("mine", "rate_limited")
    assert not decoded


LARGE = {"body": "x" * LARGE_BYTES}
IDS = [7, -1, 2**63, "a", "", "é" * 128]


@pytest.mark.parametrize("more", [{}, LARGE])
@pytest.mark.parametrize("id", IDS)
def test_the_id_is_found_where_a_message_begins_with_it(id, more) -> None:
    fields = {"id": id, "verb": "step", **more}
    assert id_in(orjson.dumps(fields), as_msgpack=False) == id
    assert id_in(orjson.dumps(fields, option=orjson.OPT_INDENT_2), as_msgpack=False) == id
    assert id_in(msgpack.packb(fields), as_msgpack=True) == id


WRONG: list[Any] = [None, True, 1.5, [], {}, [[]] * 9, "x" * 129, b"x"]


@pytest.mark.parametrize("id", WRONG)
def test_what_is_no_id_is_not_taken_for_one(id) -> None:
    large = {"id": id, "verb": "step", **LARGE}
    assert id_in(msgpack.packb(large), as_msgpack=True) is None
    if not isinstance(id, bytes):
        assert id_in(orjson.dumps(large), as_msgpack=False) is None
    nested = {"body": {"id": 1, **LARGE}}
    assert id_in(msgpack.packb(nested), as_msgpack=True) is None
    assert id_in(orjson.dumps(nested), as_msgpack=False) is None
    for cut in (
        b"\x81\xa2id",
        b"\x81\xa2id\xdb\xff\xff\xff\xff",
        b"\x81\xa2id\xc6\xff\xff\xff\xff",
    ):
        assert id_in(cut + bytes(2000), as_msgpack=True) in (None, 0)
