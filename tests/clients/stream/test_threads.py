"""One socket for many threads, none of which is the socket's own: who waits reads for all."""

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection

import dreamserve_client as sdk
from dreamserve_client.transports.blocking_socket import BlockingSocket

WORLDS = {"worlds": []}
PATIENCE_S = 30.0


async def keep_silent(connection: ServerConnection, request: dict) -> None:
    pass


def client_of(server, **options):
    return sdk.DreamClient(server.url, transport="stream", **options)


def response(request: dict, body: dict) -> bytes:
    return msgpack.packb({"id": request["id"], "status": 200, "body": body})


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(range(6)), pieces=st.lists(st.integers(1, 5), min_size=6, max_size=6))
def test_each_thread_gets_its_own_response_in_any_order_and_in_any_pieces(
    scripted, fake, order, pieces
):
    held: list[dict] = []

    async def in_that_order(connection, request):
        held.append(request)
        if len(held) < len(order):
            return
        for place in order:
            one = held[place]
            raw = response(one, {**fake.SESSION, "session_id": one["body"]["session_id"]})
            size = -(-len(raw) // pieces[place])
            await connection.send(raw[at : at + size] for at in range(0, len(raw), size))
        held.clear()

    with (
        scripted(in_that_order) as server,
        client_of(server, max_retries=0) as client,
        ThreadPoolExecutor(len(order)) as threads,
    ):
        for turn in range(2):
            names = [f"s{turn}{i}" for i in range(len(order))]
            sessions = list(threads.map(client.session, names, timeout=PATIENCE_S))
            assert [one.session_id for one in sessions] == names
        assert server.sockets == 1


def test_threads_that_go_on_for_long_all_finish(scripted, fake):
    async def echo(connection, request):
        body = {**fake.SESSION, "session_id": request["body"]["session_id"]}
        await connection.send(response(request, body))

    with scripted(echo) as server, client_of(server, max_retries=0, timeout_s=10) as client:

        def work(name: str) -> bool:
            return all(client.session(name).session_id == name for _ in range(100))

        with ThreadPoolExecutor(12) as threads:
            assert all(threads.map(work, [f"s{i}" for i in range(12)], timeout=PATIENCE_S))
        assert server.sockets == 1


def test_when_the_reader_gives_up_another_thread_reads(scripted, fake):
    held: list[ServerConnection] = []

    async def hold(connection, request):
        held.append(connection)

    with (
        scripted(hold) as server,
        client_of(server, max_retries=0) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        gives_up = threads.submit(client.with_options(timeout_s=0.2).session, "s1")
        server.wait_for_requests()
        goes_on = threads.submit(client.session, "s2")
        with pytest.raises(sdk.APITimeoutError):
            gives_up.result(PATIENCE_S)
        server.wait_for_requests(2)
        session = {**fake.SESSION, "session_id": "s2"}
        late = held[0].send(response(server.requests[1], session))
        asyncio.run_coroutine_threadsafe(late, server.loop).result(PATIENCE_S)
        assert goes_on.result(PATIENCE_S).session_id == "s2"


def test_a_large_request_does_not_keep_a_large_response_from_being_read(scripted, fake):
    """The server reads no second request until the first one's response was taken."""
    large = {**fake.SESSION, "padding": bytes(30_000_000)}

    async def write_all(connection, request):
        connection.transport.set_write_buffer_limits(0)
        connection.transport.pause_reading()
        await connection.send(response(request, large))
        connection.transport.resume_reading()

    with (
        scripted(write_all, fake.STEP) as server,
        client_of(server, max_retries=0, timeout_s=20) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        read = threads.submit(client.session, "s1")
        server.wait_for_requests()
        sent = threads.submit(client.step, "s1", 1, observation=np.zeros(4_000_000))
        assert read.result(PATIENCE_S).session_id == "s1"
        assert sent.result(PATIENCE_S).step == 1


def test_a_ping_of_the_server_is_answered_while_a_call_waits(scripted, fake):
    async def ping(connection, request):
        async with asyncio.timeout(PATIENCE_S):
            await (await connection.ping())
        await connection.send(response(request, fake.SESSION))

    with scripted(ping) as server, client_of(server, max_retries=0) as client:
        assert client.session("s1").session_id == "s1"


def test_a_socket_that_was_idle_for_long_is_replaced(scripted, monkeypatch):
    with scripted(WORLDS) as server, client_of(server, max_retries=0) as client:
        client.worlds()
        client.worlds()
        assert server.sockets == 1
        monkeypatch.setattr("dreamserve_client.transports.blocking_socket.monotonic", lambda: 1e12)
        assert not client._transport._socket.is_usable()
        monkeypatch.undo()
        client.worlds()
        assert server.sockets == 2


def test_an_interrupted_call_costs_its_socket_and_no_more(scripted, fake, monkeypatch):
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with scripted(keep_silent, fake.SESSION) as server, client_of(server) as client:
        with monkeypatch.context() as patched:
            patched.setattr(BlockingSocket, "_poll", interrupt)
            with pytest.raises(KeyboardInterrupt):
                client.session("s1")
        assert client.session("s1").session_id == "s1"
        assert server.sockets == 2


def test_a_client_has_no_thread_of_its_own(scripted):
    with scripted(WORLDS) as server, client_of(server) as client:
        before = set(threading.enumerate())
        client.worlds()
        for thread in set(threading.enumerate()) - before:  # websockets starts one, which ends
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def test_it_works_where_an_event_loop_runs_as_in_a_notebook(scripted):
    async def cell(client):
        return client.worlds()

    with scripted(WORLDS) as server, client_of(server) as client:
        assert asyncio.run(cell(client)) == []
        assert asyncio.run(cell(client)) == []
        assert server.sockets == 1


def silent_server() -> socket.socket:
    """Return a socket that accepts connections, and says nothing."""
    return socket.create_server(("127.0.0.1", 0))


def test_threads_wait_for_one_connection_and_each_for_its_own_time(scripted):
    with silent_server() as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with sdk.DreamClient(url, transport="stream", max_retries=0, timeout_s=0.3) as client:
            at_once = Barrier(3)

            def call() -> sdk.APITimeoutError:
                at_once.wait(PATIENCE_S)
                with pytest.raises(sdk.APITimeoutError, match="no connection to") as raised:
                    client.worlds()
                return raised.value

            with ThreadPoolExecutor(3) as threads:
                errors = [
                    one.result(PATIENCE_S) for one in [threads.submit(call) for _ in range(3)]
                ]
            assert not any(error.sent for error in errors)


def test_a_client_may_be_closed_by_several_threads_while_others_call(scripted):
    with scripted(keep_silent) as server:
        client = client_of(server, max_retries=0)
        calls = [Thread(target=_refused, args=(client.worlds,)) for _ in range(4)]
        closes = [Thread(target=client.close) for _ in range(2)]
        for thread in calls:
            thread.start()
        server.wait_for_requests(4)
        for thread in closes:
            thread.start()
        for thread in calls + closes:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def _refused(call: Callable[[], object]) -> None:
    with pytest.raises((sdk.ClosedError, sdk.APIConnectionError)):
        call()
