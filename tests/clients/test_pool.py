"""Many calls at once share connections; a fake connection counts who uses it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from dreamserve_client.transports import pool

REQUEST = httpx.Request("GET", "http://dreams.test", extensions={"timeout": {"pool": 0.05}})
PATIENT = httpx.Request("GET", "http://dreams.test", extensions={"timeout": {"pool": 10.0}})


class Connections:
    """The connections that were made; each refuses two requests at once."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.proceed = threading.Event()
        self.fails = False

    def connection(self, **options: object) -> "Connection":
        self.made.append(Connection(self))
        return self.made[-1]


class Connection:
    def __init__(self, all_: Connections) -> None:
        self.all, self.busy, self.closed, self.requests = all_, False, False, 0

    def begin(self) -> httpx.Response:
        assert not self.busy
        assert not self.closed
        if self.all.fails:
            raise httpx.ReadError("cut")
        self.busy = True
        self.requests += 1
        return httpx.Response(200, stream=Content(self))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.begin()
        self.all.proceed.wait(10)
        return response

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = self.begin()
        while not self.all.proceed.is_set():
            await asyncio.sleep(0)
        return response

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class Content(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def __iter__(self) -> Iterator[bytes]:
        yield b"dream"

    async def __aiter__(self):
        yield b"dream"

    def close(self) -> None:
        self.connection.busy = False

    async def aclose(self) -> None:
        self.connection.busy = False


@pytest.fixture
def connections(monkeypatch) -> Connections:
    connections = Connections()
    monkeypatch.setattr(pool, "PunctualTransport", connections.connection)
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", connections.connection)
    monkeypatch.setattr(pool, "CONNECTIONS", 3)
    return connections


def read(pool: pool.Pool, request: httpx.Request = PATIENT) -> bytes:
    response = pool.handle_request(request)
    content = response.read()
    response.close()
    return content


async def read_async(pool: pool.AsyncPool, request: httpx.Request = PATIENT) -> bytes:
    response = await pool.handle_async_request(request)
    content = await response.aread()
    await response.aclose()
    return content


def test_calls_from_many_threads_use_few_connections_one_call_each(connections):
    shared = pool.Pool()
    connections.proceed.set()
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda _: read(shared), range(200))) == [b"dream"] * 200
    assert len(connections.made) <= 3
    shared.close()
    assert all(connection.closed for connection in connections.made)


def test_concurrent_calls_use_few_connections_one_call_each(connections):
    async def calls() -> None:
        shared = pool.AsyncPool()
        reading = [asyncio.create_task(read_async(shared)) for _ in range(20)]
        await asyncio.sleep(0)
        connections.proceed.set()
        assert await asyncio.gather(*reading) == [b"dream"] * 20
        assert len(connections.made) == 3
        await shared.aclose()
        assert all(connection.closed for connection in connections.made)

    asyncio.run(calls())


def test_a_call_that_finds_no_free_connection_in_time_fails(connections):
    async def calls() -> None:
        shared = pool.AsyncPool()
        busy = [asyncio.create_task(read_async(shared)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(httpx.PoolTimeout, match="all 3 connections are in use"):
            await shared.handle_async_request(REQUEST)
        connections.proceed.set()
        await asyncio.gather(*busy)
        assert await read_async(shared, REQUEST) == b"dream"

    asyncio.run(calls())


def test_a_thread_that_finds_no_free_connection_in_time_fails(connections):
    shared = pool.Pool()
    with ThreadPoolExecutor(3) as threads:
        busy = [threads.submit(read, shared) for _ in range(3)]
        until_s = time.monotonic() + 10
        while len(connections.made) < 3 and time.monotonic() < until_s:
            time.sleep(0.001)
        with pytest.raises(httpx.PoolTimeout, match="all 3 connections are in use"):
            read(shared, REQUEST)
        connections.proceed.set()
        assert [one.result(10) for one in busy] == [b"dream"] * 3


def test_what_failed_or_was_cancelled_leaves_no_connection_behind(connections):
    async def calls() -> None:
        shared, connections.fails = pool.AsyncPool(), True
        for _ in range(5):
            with pytest.raises(httpx.ReadError):
                await shared.handle_async_request(REQUEST)
        connections.fails = False
        for _ in range(5):
            call = asyncio.create_task(read_async(shared))
            await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        connections.proceed.set()
        assert all(connection.closed for connection in connections.made)
        assert await read_async(shared, REQUEST) == b"dream"

    asyncio.run(calls())


def test_an_interrupted_call_leaves_no_connection_behind(connections, monkeypatch):
    shared = pool.Pool()

    def interrupt(*given):
        raise KeyboardInterrupt

    connections.proceed.set()
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Connection, "handle_request", interrupt)
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt):
                shared.handle_request(REQUEST)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Content, "close", interrupt)
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt):
                read(shared)
    assert all(connection.closed for connection in connections.made)
    assert read(shared, REQUEST) == b"dream"


def test_the_connection_of_a_response_that_was_not_read_is_closed(connections):
    async def call() -> None:
        response = await pool.AsyncPool().handle_async_request(REQUEST)
        await response.aclose()

    connections.proceed.set()
    pool.Pool().handle_request(REQUEST).close()
    asyncio.run(call())
    assert [connection.closed for connection in connections.made] == [True, True]


def test_a_connection_in_use_at_the_close_is_closed_after_its_call(connections):
    async def call() -> None:
        shared = pool.AsyncPool()
        reading = asyncio.create_task(read_async(shared))
        await asyncio.sleep(0)
        await shared.aclose()
        connections.proceed.set()
        assert await reading == b"dream"

    asyncio.run(call())
    shared = pool.Pool()
    response = shared.handle_request(REQUEST)
    shared.close()
    assert response.read() == b"dream"
    response.close()
    assert [connection.closed for connection in connections.made] == [True, True]


def test_a_forked_process_has_connections_of_its_own(connections, monkeypatch):
    shared = pool.Pool()
    connections.proceed.set()
    read(shared)
    with monkeypatch.context() as forked:
        forked.setattr("os.getpid", lambda: -1)
        for _ in range(2):
            assert read(shared) == b"dream"
        inherited, own = connections.made
        assert (inherited.requests, own.requests) == (1, 2)
        assert inherited.closed  # its socket, in this process
        shared.close()
        assert own.closed


def test_calls_that_were_in_progress_at_a_fork_take_no_connection_of_the_new_process(
    connections, monkeypatch
):
    shared = pool.Pool()
    connections.proceed.set()
    for _ in range(3):
        shared.handle_request(PATIENT)  # by threads that the new process does not have
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert read(shared, REQUEST) == b"dream"


def test_connections_that_were_not_used_for_long_are_closed(connections, monkeypatch):
    async def calls() -> None:
        now_s = 0.0
        monkeypatch.setattr(pool.time, "monotonic", lambda: now_s)
        shared = pool.AsyncPool()
        reading = [asyncio.create_task(read_async(shared)) for _ in range(3)]
        await asyncio.sleep(0)
        connections.proceed.set()
        await asyncio.gather(*reading)
        now_s = pool.IDLE_S + 1
        for _ in range(3):
            assert await read_async(shared) == b"dream"
        assert [connection.closed for connection in connections.made].count(True) == 2

    asyncio.run(calls())
