"""A WebSocket server whose responses are scripted, on a port of its own."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any

import msgpack
import pytest
from websockets.asyncio.server import ServerConnection, serve

PATIENCE_S = 30.0
CERTIFICATE = Path(__file__).parent / "dreams.test.pem"  # for this name and 127.0.0.1; no secret
Outcome = Callable[[ServerConnection, dict[str, Any]], Any]


class ScriptedStream:
    """Gives the scripted outcomes to the requests one after another; the last one stays."""

    def __init__(self, *outcomes: Any, tls: ssl.SSLContext | None = None) -> None:
        self.outcomes, self._tls = list(outcomes), tls
        self.requests: list[dict[str, Any]] = []
        self._arrived = Condition()
        self.frames: list[str | bytes] = []
        self.handshakes: list[Any] = []  # their headers
        self.sockets = 0
        self.url = ""
        self._listens, self.loop, self._until = Event(), asyncio.new_event_loop(), asyncio.Event()

    def run(self) -> None:
        """Serve until `end`."""
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    def wait(self) -> None:
        """Wait until the server listens."""
        assert self._listens.wait(PATIENCE_S)

    def wait_for_requests(self, count: int = 1) -> None:
        """Wait until so many requests have arrived."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.requests) >= count, PATIENCE_S)

    def end(self) -> None:
        """Stop serving."""
        self.loop.call_soon_threadsafe(self._until.set)

    async def _serve(self) -> None:
        async with serve(
            self._socket, "127.0.0.1", 0, close_timeout=0.1, max_size=None, ssl=self._tls
        ) as server:
            scheme = "http" if self._tls is None else "https"
            self.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self._listens.set()
            await self._until.wait()

    async def _socket(self, connection: ServerConnection) -> None:
        self.sockets += 1
        assert connection.request is not None
        self.handshakes.append(connection.request.headers)
        async for frame in connection:
            self.frames.append(frame)
            request = msgpack.unpackb(frame) if isinstance(frame, bytes) else {}
            with self._arrived:
                self.requests.append(request)
                self._arrived.notify_all()
            outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
            if isinstance(outcome, dict):
                answer = {"id": request["id"], "status": 200, "body": outcome}
                await connection.send(msgpack.packb(answer))
            else:
                await outcome(connection, request)


@contextmanager
def _scripted(*outcomes: Any, **options: Any) -> Iterator[ScriptedStream]:
    server = ScriptedStream(*outcomes, **options)
    thread = Thread(target=server.run)
    thread.start()
    try:
        server.wait()
        yield server
    finally:
        server.end()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture
def scripted() -> Callable[..., AbstractContextManager[ScriptedStream]]:
    """Return what serves scripted outcomes: fields of results, or functions of the connection."""
    return _scripted


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate, which clients of this test trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context
