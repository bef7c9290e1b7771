"""Invalid input gets a problem, or a close frame with a reason; other sockets are unaffected."""

import asyncio
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgpack
import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dreamserve_protocol.verbs import VERBS

pytestmark = pytest.mark.anyio
FORMS = ["json", "msgpack"]
PATIENCE_S = 30.0

BAD: list[tuple[Any, Any, int, str, str]] = [
    ({"id": 1, "verb": "fly"}, 1, 422, "invalid_request", "verb must be one of step, reset"),
    ({"id": 1, "verb": ["step"]}, 1, 422, "invalid_request", "verb must be one of"),
    ({"id": 1, "verb": {}}, 1, 422, "invalid_request", "verb must be one of"),
    ({"id": 1}, 1, 422, "invalid_request", "verb must be one of"),
    ({"id": "x", "verb": "step", "more": 1}, "x", 422, "invalid_request", "not ['more']"),
    ({"id": "x", "verb": "step", "body": []}, "x", 422, "invalid_request", "must be an object"),
    ({"id": "x", "verb": "step", "body": None}, "x", 422, "invalid_request", "must be an object"),
    ({"id": "x", "verb": "step"}, "x", 422, "invalid_request", "session_id: Field required"),
    ({"id": 1, "verb": "worlds", "timeout_s": 0}, 1, 422, "invalid_request", "timeout_s must be"),
    ({"id": 1, "verb": "worlds", "timeout_s": "9"}, 1, 422, "invalid_request", "timeout_s must"),
    ({"id": 1, "verb": "worlds", "timeout_s": 1e-9}, 1, 408, "deadline_passed", "timeout passed"),
    ({"verb": "worlds"}, None, 422, "invalid_request", "id must be"),
    ({"id": None, "verb": "worlds"}, None, 422, "invalid_request", "id must be"),
    ({"id": True, "verb": "worlds"}, None, 422, "invalid_request", "id must be"),
    ({"id": 1.5, "verb": "worlds"}, None, 422, "invalid_request", "id must be"),
    ({"id": [1], "verb": "worlds"}, None, 422, "invalid_request", "id must be"),
    ({"id": "x" * 129, "verb": "worlds"}, None, 422, "invalid_request", "at most 128"),
    ([1, 2], None, 422, "invalid_request", "must be an object, it is a list"),
    ("text", None, 422, "invalid_request", "must be an object, it is a string"),
    (
        {"id": 2, "verb": "step", "body": {"session_id": "none", "action": 0}},
        2,
        404,
        "session_not_found",
        "none",
    ),
    (
        {"id": 2, "verb": "world", "body": {"name": "mars"}},
        2,
        404,
        "world_not_found",
        "fake, box",
    ),
    (
        {"id": 3, "verb": "reset", "body": {"start": {"latent": [3e38] * 4}}},
        3,
        422,
        "not_finite",
        "start.latent",
    ),
    (
        {"id": "y" * 128, "verb": "reset", "body": {"x" * 9000: 1}},
        "y" * 128,
        422,
        "invalid_request",
        "",
    ),
]


@pytest.mark.parametrize("form", FORMS)
async def test_an_invalid_request_gets_a_problem_and_the_socket_stays_open(
    server, form, peer_of
) -> None:
    async with peer_of(server, form) as peer:
        for question, id_, status, code, message in BAD:
            await peer.send(question)
            answer = await peer.receive()
            assert (answer["id"], answer["status"]) == (id_, status), (question, answer)
            problem = answer["body"]
            assert (problem["code"], problem["status"]) == (code, status), problem
            assert message in problem["detail"], problem
            assert len(orjson.dumps(answer)) < 2048
            assert problem["request_id"]
        assert (await peer.ask("worlds"))["status"] == 200


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "",
        "null",
        '{"id": 1, "verb": "reset", "body": {"temperature": NaN}}',
        "[" * 100_000,
        b"\xc1",
        b"",
        b"\x91" * 100_000,
        msgpack.packb({b"id": 1, b"verb": b"worlds"}),
        msgpack.packb({"id": 1, "verb": "worlds", b"\xff": 1, "more": 1}),
        msgpack.packb({"id": 1, "verb": b"worlds"}),
        msgpack.packb({"id": 1, "verb": "step", "body": {b"session_id": b"s", "action": 0}}),
        msgpack.packb(msgpack.Timestamp(1)),
    ],
    ids=lambda frame: repr(frame[:40]),
)
async def test_a_malformed_frame_gets_a_problem_in_its_form(server, frame, peer_of) -> None:
    async with peer_of(server, "json" if isinstance(frame, str) else "msgpack") as peer:
        await peer.socket.send(frame)
        answer = await peer.receive()
        assert answer["status"] == 422, answer
        assert answer["body"]["code"] in ("invalid_request", "not_finite")
        assert len(orjson.dumps(answer)) < 2048
        assert (await peer.ask("worlds"))["status"] == 200


async def test_a_problem_names_its_socket_and_its_request(server, peer_of) -> None:
    async with peer_of(server, additional_headers={"x-request-id": "socket-1"}) as peer:
        for id_ in (7, "None"):
            await peer.send({"id": id_, "verb": "fly"})
            assert (await peer.receive())["body"]["request_id"] == f"socket-1.{id_}"
        for number, message in enumerate(
            ({"id": "7\nERROR", "verb": "fly"}, {}, [], {"id": 1.5}), 3
        ):
            await peer.send(message)
            request_id = (await peer.receive())["body"]["request_id"]
            assert request_id == f"socket-1.message-{number}"


async def test_a_message_over_the_bound_closes_the_socket_with_its_reason(
    listening, peer_of
) -> None:
    with listening(max_body_bytes=4096) as served:
        async with peer_of(served) as peer:
            await peer.send({"id": 1, "verb": "reset", "body": {"world": "x" * 5000}})
            with pytest.raises(ConnectionClosed) as closed:
                await peer.receive()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        async with peer_of(served) as peer:
            assert (await peer.ask("worlds"))["status"] == 200


async def test_a_page_of_another_origin_gets_no_socket(server, peer_of) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with peer_of(server, origin="http://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    assert orjson.loads(refused.value.response.body)["code"] == "forbidden_origin"
    async with peer_of(server, origin=f"http://127.0.0.1:{server.port}") as peer:
        assert (await peer.ask("worlds"))["status"] == 200


async def test_a_websocket_on_another_path_is_refused(server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{server.port}/nowhere"):
            pass
    assert refused.value.response.status_code == 404
    assert orjson.loads(refused.value.response.body)["code"] == "not_found"


async def test_an_unforeseen_error_gets_a_problem_and_is_logged(
    listening, monkeypatch, caplog, peer_of
) -> None:
    with listening() as served:

        def broken(*_: Any) -> None:
            raise RuntimeError("secret detail")

        async with peer_of(served) as peer:
            with monkeypatch.context() as patched:
                patched.setattr(served.app.service.engine.queue, "add", broken)
                answer = await peer.ask("worlds")
            assert (answer["status"], answer["body"]["code"]) == (500, "internal_error")
            assert "secret" not in str(answer)
            assert answer["body"]["request_id"] == caplog.records[-1].fields["request_id"]
            assert "secret detail" in caplog.text
            assert (await peer.ask("worlds"))["status"] == 200


def random_frame(
    generator: random.Random, fields_of: Callable[[str], dict[str, Any]]
) -> str | bytes:
    """Return a frame: a changed request, or random bytes."""
    kind = generator.randrange(4)
    if kind == 0:
        return generator.randbytes(generator.randrange(200))
    if kind == 1:
        return generator.randbytes(generator.randrange(200)).decode("latin-1")
    question: dict[Any, Any] = {
        "id": generator.randrange(100),
        "verb": generator.choice(VERBS).name,
    }
    question["body"] = dict(fields_of(question["verb"]))
    if question["verb"] in ("rollout", "plan", "sample"):
        question["body"] = {}
    oddities = [None, True, -1, 2**63, 1.5, "x", [], {}, [[1]], {"kind": "linear"}, "a" * 300]
    for _ in range(generator.randrange(3)):
        target = generator.choice([question, question["body"]])
        if isinstance(target, dict):
            name = generator.choice([*target, "odd"])
            target[name] = deepcopy(generator.choice(oddities))
    if generator.randrange(2):
        raw = bytearray(msgpack.packb(question))
        for _ in range(generator.randrange(3)):
            raw[generator.randrange(len(raw))] = generator.randrange(256)
        return bytes(raw)
    raw_text = orjson.dumps(question).decode()
    at = generator.randrange(len(raw_text))
    return raw_text[:at] + generator.choice(["", "{", '"', "\u0000", "9"]) + raw_text[at:]


@pytest.mark.slow
async def test_ten_thousand_random_frames_all_get_responses(
    server, caplog, peer_of, fields_of
) -> None:
    generator = random.Random(0)
    for _ in range(50):
        async with peer_of(server) as peer:
            for _ in range(200):
                await peer.socket.send(random_frame(generator, fields_of))
            for _ in range(200):
                frame = await asyncio.wait_for(peer.socket.recv(), PATIENCE_S)
                text = isinstance(frame, str)
                answer = orjson.loads(frame) if text else msgpack.unpackb(frame)
                assert answer["status"] < 500, answer
    assert not caplog.records


@pytest.mark.parametrize(
    "frame",
    [
        b"\xf1\x80mask",  # reserved bits without an extension
        b"\x83\x80mask",  # an unknown opcode
        b"\x81\x01a",  # a client's frame without a mask
        b"\x09\x80mask",  # a ping in pieces
        b"\x80\x80mask",  # a continuation of nothing
        b"\x88\x81maska",  # a close with half a code
    ],
)
async def test_invalid_frames_close_only_their_socket(server, frame, peer_of) -> None:
    async with peer_of(server) as healthy, peer_of(server) as peer:
        peer.socket.transport.write(frame)
        with pytest.raises(ConnectionClosed) as closed:
            await peer.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1002
        assert (await healthy.ask("worlds"))["status"] == 200


async def test_a_text_that_is_not_utf_8_closes_the_socket_with_its_reason(server, peer_of) -> None:
    async with peer_of(server) as peer:
        await peer.socket.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            await peer.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1007


async def test_errors_of_peers_are_not_logged(server, peer_of, caplog) -> None:
    with pytest.raises(InvalidStatus):
        async with connect(f"ws://127.0.0.1:{server.port}/nowhere"):
            pass
    async with peer_of(server) as peer:
        await peer.socket.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed):
            await peer.receive()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
