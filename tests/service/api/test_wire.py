"""A head leaves with its body, and nothing is ever kept back for good."""

import asyncio
from typing import Any

import pytest

from dreamserve.api.wire import Together

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Transport:
    """Writes down what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> Any:
        return f"the {name}"


@pytest.fixture
async def wire() -> tuple[Together, Transport]:
    transport = Transport()
    return Together(transport, asyncio.get_running_loop()), transport


async def test_a_head_and_its_body_are_one_write(wire) -> None:
    together, transport = wire
    for _ in range(3):
        together.write(HEAD)
        together.write(b"{}")
    assert transport.written == [HEAD + b"{}"] * 3


async def test_a_head_without_a_body_leaves_at_the_end_of_the_round(wire) -> None:
    together, transport = wire
    together.write(HEAD)
    await asyncio.sleep(0)
    assert transport.written == [HEAD]
    together.write(b"late")
    assert transport.written == [HEAD, b"late"]


async def test_an_empty_body_lets_its_head_go(wire) -> None:
    together, transport = wire
    together.write(HEAD)
    together.write(b"")
    assert transport.written == [HEAD]


async def test_a_continue_is_not_kept_waiting(wire) -> None:
    together, transport = wire
    together.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert len(transport.written) == 1


async def test_closing_loses_nothing(wire) -> None:
    together, transport = wire
    together.write(HEAD)
    together.close()
    assert (transport.written, transport.closed) == ([HEAD], True)
    await asyncio.sleep(0)
    assert transport.written == [HEAD]


async def test_all_else_is_the_transports_own(wire) -> None:
    assert wire[0].get_extra_info("peername") == "the peername"
