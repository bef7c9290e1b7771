"""Keepalive closes silent peers, but not those whose messages wait; frames are written together."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from dreamserve.api.connections import Connections
from dreamserve.api.transports import JOINED_BYTES
from dreamserve.api.websocket import StreamProtocol
from dreamserve.settings import Settings

pytestmark = pytest.mark.anyio
HANDSHAKE = (
    b"GET /stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT = b"\x81\x81\0\0\0\0a"


class Transport(asyncio.Transport):
    """Records what is written, and whether it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed, self.is_read = False, True

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def get_write_buffer_size(self) -> int:
        return 1_000_000


class Socket:
    """An accepted socket whose application reads one message per release of `reads`."""

    def __init__(self) -> None:
        self.reads = asyncio.Semaphore(0)
        self.accepted = asyncio.Event()
        config = uvicorn.Config(self.app, interface="asgi3", log_config=None)
        config.load()
        self.transport = Transport()
        shared = Connections(Settings())
        self.protocol = StreamProtocol(config, ServerState(), {}, shared=shared)
        self.protocol.connection_made(self.transport)
        self.protocol.data_received(HANDSHAKE)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self.send = send
        self.accepted.set()
        while True:
            await self.reads.acquire()
            if (await receive())["type"] == "websocket.disconnect":
                return

    def ping_unanswered(self) -> None:
        """Let the timeout of a sent ping pass."""
        self.protocol.keepalive_timeout()


@pytest.fixture
async def socket() -> Any:
    socket = Socket()
    async with asyncio.timeout(5):
        await socket.accepted.wait()
    yield socket
    socket.protocol.connection_lost(None)
    socket.reads.release()
    socket.reads.release()


async def test_a_silent_peer_is_closed_with_a_reason(socket) -> None:
    socket.protocol.send_keepalive_ping()
    socket.ping_unanswered()
    assert socket.transport.closed
    assert b"keepalive ping timeout" in socket.transport.written[-1]


async def test_any_data_from_a_peer_keeps_it_connected(socket) -> None:
    socket.protocol.send_keepalive_ping()
    socket.protocol.data_received(TEXT)
    socket.reads.release()
    async with asyncio.timeout(5):
        while socket.protocol.read_paused:
            await asyncio.sleep(0)
    socket.ping_unanswered()
    assert not socket.transport.closed
    socket.protocol.send_keepalive_ping()
    socket.ping_unanswered()
    assert socket.transport.closed


async def test_a_peer_whose_messages_are_not_read_stays_connected(socket) -> None:
    socket.protocol.data_received(TEXT)  # waits until the application reads it
    for _ in range(5):
        socket.protocol.send_keepalive_ping()
        socket.ping_unanswered()
        assert not socket.transport.closed
    assert socket.protocol.ping_timer is not None  # and is pinged again


async def test_a_pong_keeps_a_peer_connected(socket) -> None:
    socket.protocol.send_keepalive_ping()
    payload = socket.protocol.pending_ping_payload
    socket.protocol.data_received(b"\x8a\x84\0\0\0\0" + payload)
    assert socket.protocol.pending_ping_payload is None
    assert socket.protocol.pong_timer is None
    assert not socket.transport.closed


async def test_frames_of_one_round_are_written_in_one_piece_and_in_order(socket) -> None:
    await asyncio.sleep(0)
    written = len(socket.transport.written)
    for text in "abc":
        await socket.send({"type": "websocket.send", "text": text})
    assert len(socket.transport.written) == written
    await asyncio.sleep(0)
    assert socket.transport.written[written:] == [b"\x81\x01a\x81\x01b\x81\x01c"]


async def test_a_full_buffer_is_passed_to_the_transport(socket) -> None:
    await asyncio.sleep(0)
    written = len(socket.transport.written)
    await socket.send({"type": "websocket.send", "bytes": bytes(JOINED_BYTES)})
    assert len(socket.transport.written) == written + 1


async def test_a_stopping_server_leaves_closing_sockets_alone(socket) -> None:
    socket.protocol.data_received(TEXT)
    socket.protocol.data_received(b"\x88\x80\0\0\0\0")  # a close frame
    socket.transport.closed = False  # its responses are not read, so it is still open
    socket.protocol.shutdown()
    assert socket.transport.closed


async def test_a_stopping_server_sends_other_sockets_a_close_frame(socket) -> None:
    socket.protocol.shutdown()
    assert socket.transport.written[-1] == b"\x88\x02\x03\xf4"  # 1012
    assert socket.transport.closed


PING, PONG, EMPTY = b"\x89\x80\0\0\0\0", b"\x8a\x80\0\0\0\0", b"\x81\x80\0\0\0\0"
PARTS = b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 900 + b"\x80\x80\0\0\0\0"
AT_ONCE = 64  # frames of one socket in an iteration of the event loop


async def drained(socket: Any) -> int:
    """Wait until all that arrived is processed; return the iterations of the event loop."""
    iterations = 0
    async with asyncio.timeout(10):
        while not socket.transport.is_read:
            await asyncio.sleep(0)
            iterations += 1
    await asyncio.sleep(0)  # writes what is joined
    return iterations


async def test_few_frames_of_a_burst_are_processed_in_an_iteration_of_the_event_loop(
    socket,
) -> None:
    socket.protocol.data_received(PING * 2_000)
    assert b"".join(socket.transport.written).count(b"\x8a\x00") <= AT_ONCE
    assert await drained(socket) >= 2_000 // AT_ONCE
    assert b"".join(socket.transport.written).count(b"\x8a\x00") == 2_000
    assert not socket.transport.closed


async def test_a_burst_of_messages_waits_for_the_application(socket) -> None:
    socket.protocol.data_received(EMPTY * 5_000)
    for _ in range(100):
        await asyncio.sleep(0)
    assert socket.protocol.queue.qsize() < 4 * AT_ONCE
    for _ in range(5_000):
        socket.reads.release()
    await drained(socket)
    assert socket.protocol.queue.empty()
    socket.protocol.data_received(TEXT)
    assert socket.protocol.queue.get_nowait()["text"] == "a"


@pytest.mark.parametrize("flood", [PING * 3_000, PONG * 3_000, PARTS * 3])
async def test_a_peer_that_sends_very_many_frames_for_nothing_is_closed(socket, flood) -> None:
    while not socket.transport.closed and flood:
        socket.protocol.data_received(flood[:8_000])
        flood = flood[8_000:]
        async with asyncio.timeout(10):
            while socket.protocol._has_more and not socket.transport.closed:
                socket.reads.release()
                await asyncio.sleep(0)
    assert b"too many pings, pongs and small parts" in socket.transport.written[-1]
    assert b"\x03\xf0" in socket.transport.written[-1]  # 1008


async def test_a_message_that_ends_makes_time_for_the_next_one(socket) -> None:
    part = TEXT + TEXT[:3]
    socket.protocol.data_received(part)
    socket.protocol._part_since_s -= 1_000
    socket.reads.release()
    socket.protocol.data_received(TEXT[3:] + TEXT[:3])
    assert socket.protocol._part_since_s > socket.protocol.loop.time() - 100


async def test_data_that_arrives_during_a_flood_is_processed_after_it(socket) -> None:
    message = b"\x81\xfe\xea\x60\0\0\0\0" + b"a" * 60_000
    socket.protocol.data_received(message[:-1])
    socket.protocol.data_received(message[-1:] + TEXT)
    async with asyncio.timeout(10):
        while socket.protocol.queue.qsize() < 2:
            await asyncio.sleep(0)
    assert socket.protocol.queue.get_nowait()["text"] == "a" * 60_000
    assert socket.protocol.queue.get_nowait()["text"] == "a"


async def test_a_peer_that_does_not_read_its_pongs_is_not_read(socket) -> None:
    socket.protocol.pause_writing()
    assert not socket.transport.is_read
    assert socket.protocol.shared.responses.held > 1_000_000
    socket.protocol.resume_writing()
    assert socket.transport.is_read
    assert socket.protocol.shared.responses.held == 0
