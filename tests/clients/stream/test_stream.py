"""The stream as a transport: one socket for all calls, opened again when it was lost."""

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import msgpack
import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

import dreamserve_client as sdk
from dreamserve_client.transports import opening, stream

WORLDS = {"worlds": []}
PATIENCE_S = 30.0


async def cut(connection: ServerConnection, request: dict) -> None:
    connection.transport.abort()


async def keep_silent(connection: ServerConnection, request: dict) -> None:
    pass


async def go_deaf(connection: ServerConnection, request: dict) -> None:
    """Read nothing any more, and so answer no ping."""
    connection.transport.pause_reading()


def answer(**response):
    async def send(connection: ServerConnection, request: dict) -> None:
        await connection.send(msgpack.packb({"id": request["id"], **response}))

    return send


def problem(status: int, code: str, **response):
    body = {"status": status, "code": code, "detail": f"about {code}", "request_id": "r-1"}
    return answer(status=status, body=body, **response)


def client_of(server, **options):
    return sdk.DreamClient(server.url, transport="stream", **options)


def test_a_request_names_its_verb_and_has_all_its_fields(scripted, fake):
    with scripted(fake.SESSION) as server, client_of(server) as client:
        client.restore({"format": "x", "latent": np.zeros(2, np.float32)}, "s1")
        client.session("s1")
        restore, session = server.requests
    assert (restore["verb"], restore["body"]["session_id"]) == ("restore", "s1")
    assert restore["body"]["snapshot"]["latent"]["data"] == bytes(8)
    assert (session["verb"], session["body"]) == ("session", {"session_id": "s1"})
    assert server.sockets == 1


def test_frames_are_text_with_json(scripted):
    async def answered(connection, request):
        id = json.loads(server.frames[-1])["id"]
        await connection.send(json.dumps({"id": id, "status": 200, "body": WORLDS}))

    with scripted(answered) as server, client_of(server, encoding="json") as client:
        assert client.worlds() == []
        (frame,) = server.frames
    assert json.loads(frame) == {"id": 0, "verb": "worlds", "body": {}, "timeout_s": 30.0}


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("route", ["robot-7", None])
def test_a_handshake_names_the_route_as_requests_do(scripted, awaited, route):
    async def use(url):
        async with sdk.AsyncDreamClient(url, transport="stream", route=route) as client:
            await client.worlds()
            return client.route

    with scripted(WORLDS) as server:
        if awaited:
            named = asyncio.run(use(server.url))
        else:
            with client_of(server, route=route) as client:
                client.worlds()
                named = client.route
    (headers,) = server.handshakes
    assert (headers["x-session-id"], headers["x-session-route"]) == (named, named)


def test_threads_share_a_socket_and_each_gets_its_own_response(scripted, fake):
    held = []

    async def in_reverse(connection, request):
        held.append(request)
        if len(held) == 8:
            for one in reversed(held):
                body = {**fake.SESSION, "session_id": one["body"]["session_id"]}
                await connection.send(msgpack.packb({"id": one["id"], "status": 200, "body": body}))

    names = [f"s{i}" for i in range(8)]
    with scripted(in_reverse) as server, client_of(server) as client:
        with ThreadPoolExecutor(8) as threads:
            sessions = list(threads.map(client.session, names))
        assert server.sockets == 1
    assert [one.session_id for one in sessions] == names


def test_a_lost_socket_is_opened_again_and_what_may_be_resent_is(scripted, fake, waits):
    with scripted(cut, fake.RESET) as server, client_of(server) as client:
        assert client.reset(session_id="s1").session_id == "s1"
        assert server.sockets == 2
        first, second = server.requests
    assert first["body"] == second["body"]
    assert len(waits) == 1


def test_a_step_without_a_number_is_not_sent_again(scripted, fake, waits):
    with scripted(cut, fake.STEP) as server, client_of(server) as client:
        with pytest.raises(sdk.APIConnectionError, match="was lost"):
            client.step("s1", 1)
        assert len(server.requests) == 1
        assert client.step("s1", 1).step == 1


def test_a_socket_that_was_closed_in_between_is_no_error(scripted, fake, waits):
    closed = Event()

    async def answer_and_close(connection, request):
        await answer(status=200, body=WORLDS)(connection, request)
        await connection.close(1012)
        closed.set()

    with scripted(answer_and_close, fake.STEP) as server, client_of(server) as client:
        client.worlds()
        assert closed.wait(30)
        assert client.step("s1", 1).step == 1  # although it could not be sent again
        assert server.sockets == 2
    assert not waits


def test_problems_are_the_errors_of_http(scripted, waits):
    with (
        scripted(problem(409, "step_conflict")) as server,
        client_of(server) as client,
        pytest.raises(sdk.StepConflictError) as raised,
    ):
        client.session("s1")
    assert (raised.value.status, raised.value.request_id) == (409, "r-1")
    assert raised.value.detail == "about step_conflict"


def test_a_passing_trouble_is_waited_out(scripted, waits):
    with scripted(problem(503, "draining"), WORLDS) as server, client_of(server) as client:
        assert client.worlds() == []
    assert len(waits) == 1


def test_nothing_is_an_empty_body(scripted):
    with scripted(answer(status=204)) as server, client_of(server) as client:
        assert client.delete("s1") is None


def test_a_late_response_is_a_timeout_and_is_not_taken_for_another_one(scripted, fake):
    late = []

    async def hold(connection, request):
        late.append(request["id"])

    async def answer_both(connection, request):
        body = {**fake.SESSION, "session_id": "late"}
        await connection.send(msgpack.packb({"id": late[0], "status": 200, "body": body}))
        await answer(status=200, body=fake.SESSION)(connection, request)

    with scripted(hold, answer_both) as server, client_of(server, max_retries=0) as client:
        with pytest.raises(sdk.APITimeoutError, match=r"within 0\.05 s"):
            client.with_options(timeout_s=0.05).session("s1")
        assert client.session("s1").session_id == "s1"
        assert server.sockets == 1


def test_a_server_that_answers_no_ping_is_lost(scripted, monkeypatch):
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.05)
    with (
        scripted(go_deaf) as server,
        client_of(server, max_retries=0) as client,
        pytest.raises(sdk.APIConnectionError, match="was lost") as raised,
    ):
        client.worlds()
    assert not isinstance(raised.value, sdk.APITimeoutError)


@pytest.mark.parametrize(
    "response", [b"\xc1", b"\x01", "{", "[]", '{"id": 0}', '{"id": 0, "status": "x"}', '{"id": []}']
)
def test_a_response_that_is_not_dreamserves_is_said(scripted, response):
    async def send(connection, request):
        await connection.send(response)

    with (
        scripted(send) as server,
        client_of(server) as client,
        pytest.raises(sdk.ProtocolError, match="is base_url a dreamserve server"),
    ):
        client.worlds()


def test_a_request_that_could_not_be_read_fails_and_it_is_the_largest(scripted, waits):
    async def refuse_one(connection, request):
        await problem(413, "too_large")(connection, {"id": None})
        await answer(status=200, body=WORLDS)(connection, server.requests[0])

    with (
        scripted(keep_silent, refuse_one) as server,
        client_of(server) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        small = threads.submit(client.worlds)
        server.wait_for_requests()
        with pytest.raises(sdk.TooLargeError):
            client.step("s1", 1, observation=np.zeros(1000))
        assert small.result(30) == []


def test_a_closed_client_says_so(scripted):
    with scripted(WORLDS) as server:
        client = client_of(server)
        client.worlds()
        client.close()
        with pytest.raises(sdk.ClosedError):
            client.worlds()
        client.close()


def test_calls_in_progress_end_with_an_error_when_their_client_is_closed(scripted):
    with scripted(keep_silent) as server, ThreadPoolExecutor(1) as threads:
        client = client_of(server)
        waiting = threads.submit(client.worlds)
        server.wait_for_requests()
        client.close()
        with pytest.raises((sdk.ClosedError, sdk.APIConnectionError)):
            waiting.result(30)


def test_a_fork_of_the_process_is_told_to_make_its_own_client(scripted, monkeypatch):
    with scripted(WORLDS) as server, client_of(server) as client:
        client.worlds()
        with monkeypatch.context() as forked:
            forked.setattr("os.getpid", lambda: -1)
            with pytest.raises(sdk.ClosedError, match="make one in each process"):
                client.worlds()
        assert client.worlds() == []


def test_a_port_where_nobody_listens_is_a_connection_error():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with (
            sdk.DreamClient(
                f"http://127.0.0.1:{port}", transport="stream", max_retries=0
            ) as client,
            pytest.raises(sdk.APIConnectionError, match="no connection to ws://127"),
        ):
            client.worlds()


def test_the_async_client_has_many_calls_in_progress_and_reconnects(scripted, fake, waits):
    async def use(server):
        async with sdk.AsyncDreamClient(server.url, transport="stream") as client:
            await asyncio.gather(*(client.session("s1") for _ in range(20)))
            assert server.sockets == 1
            server.outcomes[:] = [cut, fake.SESSION]
            await client.session("s1")
            assert server.sockets == 2
        with pytest.raises(sdk.ClosedError):
            await client.session("s1")

    with scripted(fake.SESSION) as server:
        asyncio.run(use(server))
    assert len(waits) == 1


def test_without_its_package_the_stream_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "websockets.asyncio.client", None)
    for module in (stream, opening):
        monkeypatch.delitem(__import__("sys").modules, module.__name__)
        monkeypatch.delattr(module.__name__)
    with pytest.raises(sdk.ConfigurationError, match=r"dreamserve-client\[stream\]"):
        sdk.DreamClient("http://127.0.0.1:1", transport="stream")


def test_a_socket_that_opens_during_the_close_is_closed(scripted, monkeypatch):
    async def main() -> None:
        opens, goes_on = asyncio.Event(), asyncio.Event()
        open_async, connections = opening.Opening.open_async, []

        async def slow(*given):
            opens.set()
            await goes_on.wait()
            connections.append(await open_async(*given))
            return connections[0]

        monkeypatch.setattr(opening.Opening, "open_async", slow)
        client = sdk.AsyncDreamClient(server.url, transport="stream")
        async with asyncio.timeout(PATIENCE_S):
            call = asyncio.create_task(client.worlds())
            await opens.wait()
            await client.close()
            goes_on.set()
            with pytest.raises(sdk.ClosedError):
                await call
        assert connections[0].state is State.CLOSED
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with scripted(WORLDS) as server:
        asyncio.run(main())
