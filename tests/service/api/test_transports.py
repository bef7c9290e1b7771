"""A head is written with its body, and no data is held back for good."""

import asyncio
from typing import Any

import pytest

from dreamserve.api import transports
from dreamserve.api.transports import CoalescingTransport

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Transport:
    """Records what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def write_eof(self) -> None:
        self.written.append(b"EOF")

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> Any:
        return f"the {name}"


@pytest.fixture
async def pair() -> tuple[CoalescingTransport, Transport]:
    transport = Transport()
    return CoalescingTransport(transport, asyncio.get_running_loop()), transport


async def test_a_head_and_its_body_are_one_write(pair) -> None:
    coalescing, transport = pair
    for _ in range(3):
        coalescing.write(HEAD)
        coalescing.write(b"{}")
    assert transport.written == [HEAD + b"{}"] * 3


async def test_a_head_without_a_body_is_written_at_the_end_of_the_loop_iteration(pair) -> None:
    coalescing, transport = pair
    coalescing.write(HEAD)
    await asyncio.sleep(0)
    assert transport.written == [HEAD]
    coalescing.write(b"late")
    assert transport.written == [HEAD, b"late"]


async def test_an_empty_body_releases_its_head(pair) -> None:
    coalescing, transport = pair
    coalescing.write(HEAD)
    coalescing.write(b"")
    assert transport.written == [HEAD]


async def test_a_100_continue_is_written_at_once(pair) -> None:
    coalescing, transport = pair
    coalescing.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert len(transport.written) == 1


async def test_closing_writes_held_data_first(pair) -> None:
    coalescing, transport = pair
    coalescing.write(HEAD)
    coalescing.close()
    assert (transport.written, transport.closed) == ([HEAD], True)
    await asyncio.sleep(0)
    assert transport.written == [HEAD]


async def test_all_other_attributes_are_the_transports(pair) -> None:
    assert pair[0].get_extra_info("peername") == "the peername"


async def test_a_lingering_close_ends_the_writing_half_first(pair, monkeypatch) -> None:
    monkeypatch.setattr(transports, "LINGER_S", 0.01)
    coalescing, transport = pair
    coalescing.lingers = True
    coalescing.write(HEAD)
    coalescing.close()
    assert (transport.written, transport.closed) == ([HEAD, b"EOF"], False)
    assert coalescing.is_closing()
    async with asyncio.timeout(5):
        while not transport.closed:
            await asyncio.sleep(0)


async def test_a_second_close_ends_lingering_at_once(pair) -> None:
    coalescing, transport = pair
    coalescing.lingers = True
    coalescing.close()
    coalescing.close()
    assert transport.closed
