"""TLS handshakes are bounded in files, too: one that was ended holds none."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from dreamserve.api.connections import RESERVE, Connections
from dreamserve.api.files import SPARE_FILES
from dreamserve.api.handshaking import BACKLOG, Handshakes
from dreamserve.settings import Settings

PATIENCE_S = 30.0
MOST = 8
FLOOD = 300  # connections that wait at once

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None or not Path("/proc/self/fd").exists(),
    reason="needs openssl and /proc",
)


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    loop = pytest.importorskip(request.param).new_event_loop
    with asyncio.Runner(loop_factory=loop) as one:
        yield one


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context and a client's."""
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=here"
    command = [*made.split(), "-out", cert, "-keyout", key]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    server, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.create_default_context(cafile=cert),
    )
    server.load_cert_chain(cert, key)
    client.check_hostname = False
    return server, client


class Echo(asyncio.Protocol):
    """A connection with TLS."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # narrower
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


async def close(handshakes: Handshakes) -> None:
    handshakes.close()
    while len(asyncio.all_tasks()) > 1:  # this one
        await asyncio.sleep(0)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def files_and_ended(
    listening: socket.socket, context: ssl.SSLContext, silent: list[socket.socket]
) -> tuple[int, int]:
    """Accept what waits; return the most files that were open, and how many clients were ended."""
    loop = asyncio.get_running_loop()
    most = 0

    async def is_ended(client: socket.socket) -> bool:
        client.setblocking(False)
        try:
            return not await loop.sock_recv(client, 1)
        except ConnectionError:
            return True

    handshakes = Handshakes(listening, context, Connections(SETTINGS), lambda: 0, Echo)
    early = silent[: len(silent) - MOST - RESERVE]
    tasks = [asyncio.create_task(is_ended(client)) for client in early]
    async with asyncio.timeout(PATIENCE_S):
        while not all(task.done() for task in tasks):
            most = max(most, open_files())
            await asyncio.sleep(0)
        await close(handshakes)
    return most, sum(task.result() for task in tasks)


SETTINGS = Settings(max_connections=MOST, head_timeout_s=PATIENCE_S * 10)


def test_a_flood_of_silent_connections_opens_no_more_files_than_there_is_room_for(
    runner, contexts
) -> None:
    with ExitStack() as at_end:
        listening = at_end.enter_context(socket.create_server(("127.0.0.1", 0), backlog=BACKLOG))
        connect = partial(socket.create_connection, listening.getsockname(), PATIENCE_S)
        silent = [at_end.enter_context(connect()) for _ in range(FLOOD)]
        runner.run(asyncio.sleep(0))  # the loop's own files
        before = open_files()
        most, ended = runner.run(files_and_ended(listening, contexts[0], silent))
    assert ended == FLOOD - MOST - RESERVE
    assert most <= before + MOST + SPARE_FILES


def test_a_client_agrees_on_tls_while_others_are_silent(runner, contexts) -> None:
    async def answered(listening: socket.socket) -> bytes:
        handshakes = Handshakes(listening, contexts[0], Connections(SETTINGS), lambda: 0, Echo)
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(
                *listening.getsockname(), ssl=contexts[1]
            )
            writer.write(b"here")
            content = await reader.read()
            writer.close()
            await close(handshakes)
        return content

    with ExitStack() as at_end:
        listening = at_end.enter_context(socket.create_server(("127.0.0.1", 0), backlog=BACKLOG))
        for _ in range(FLOOD):
            at_end.enter_context(socket.create_connection(listening.getsockname(), PATIENCE_S))
        assert runner.run(answered(listening)) == b"here"
