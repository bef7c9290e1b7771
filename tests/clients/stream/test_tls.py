"""The stream over TLS, straight and by proxies."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import pytest

import dreamserve_client as sdk

WORLDS = {"worlds": []}
PATIENCE_S = 30.0


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()


@contextmanager
def proxy_to(port: int, tls: ssl.SSLContext | None) -> Iterator[tuple[str, list[bytes]]]:
    """Serve a proxy that connects to this port whatever it is asked for; yield URL and heads."""
    heads: list[bytes] = []
    found: list[int] = []
    tunnels: list[asyncio.Task[None]] = []
    loop, listens, until = asyncio.new_event_loop(), Event(), asyncio.Event()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        inner = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        pipes = [
            asyncio.create_task(pipe(*way)) for way in ((reader, inner[1]), (inner[0], writer))
        ]
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        for task in pipes:
            task.cancel()
        for one in (writer, inner[1]):
            one.close()
            with suppress(OSError):
                await one.wait_closed()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(tunnel(reader, writer))
        tunnels.append(task)
        await task

    async def serve() -> None:
        server = await asyncio.start_server(note, "127.0.0.1", 0, ssl=tls)
        found.append(server.sockets[0].getsockname()[1])
        listens.set()
        await until.wait()
        server.close()
        await asyncio.wait(tunnels, timeout=PATIENCE_S)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = Thread(target=run)
    thread.start()
    try:
        assert listens.wait(PATIENCE_S)
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{found[0]}", heads
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def use(url: str) -> None:
    with sdk.DreamClient(url, transport="stream", max_retries=0) as client:
        assert client.worlds() == []
        assert client.worlds() == []


async def use_async(url: str) -> None:
    async with sdk.AsyncDreamClient(url, transport="stream", max_retries=0) as client:
        assert await client.worlds() == []


def test_a_server_is_reached_by_tls(scripted, tls):
    with scripted(WORLDS, tls=tls) as server:
        use(server.url)
        asyncio.run(use_async(server.url))
        assert server.sockets == 2


def test_a_certificate_that_is_not_trusted_is_refused(scripted, tls, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with (
        scripted(WORLDS, tls=tls) as server,
        pytest.raises(sdk.APIConnectionError, match="certificate"),
    ):
        use(server.url)


@pytest.mark.parametrize("to_the_proxy", ["plain", "tls"])
@pytest.mark.parametrize("to_the_server", ["plain", "tls"])
def test_a_proxy_passes_the_stream_on(scripted, tls, monkeypatch, to_the_proxy, to_the_server):
    with (
        scripted(WORLDS, tls=tls if to_the_server == "tls" else None) as server,
        proxy_to(int(server.url.rsplit(":", 1)[1]), tls if to_the_proxy == "tls" else None) as (
            proxy,
            heads,
        ),
    ):
        monkeypatch.setenv("ALL_PROXY", proxy)
        url = f"{server.url.split(':')[0]}://dreams.test"
        use(url)
        asyncio.run(use_async(url))
        assert len(heads) == server.sockets == 2
        assert all(head.startswith(b"CONNECT dreams.test:") for head in heads)
