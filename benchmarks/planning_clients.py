"""Clients that plan, for `overload`: what they send, and what they saw."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Self

import load

PLAN = {"horizon": 20, "candidates": 128, "iterations": 1, "warm_start": False}
SETTLE_S = 1.0  # from the beginning of a load, in which all its connections come at once
PATIENCE_S = 60.0  # for the responses after the last request


@dataclass
class Seen:
    """What the clients saw of one load, between two times."""

    from_s: float
    until_s: float
    offered: int = 0
    finished: int = 0
    outside: int = 0  # finished before or after
    cpu_s: float = 0.0  # of the server, for all of them
    refused_ms: list[float] = field(default_factory=list)

    @classmethod
    def now(cls, seconds: float) -> Self:
        """Return what counts for `seconds` from SETTLE_S on."""
        from_s = time.perf_counter() + SETTLE_S
        return cls(from_s, from_s + seconds)

    @property
    def seconds(self) -> float:
        """Return the time that counts."""
        return self.until_s - self.from_s

    @property
    def per_s(self) -> float:
        """Return the requests that were finished per second."""
        return self.finished / self.seconds

    @property
    def per_cpu_s(self) -> float:
        """Return the requests that were finished per second of the server's processor time."""
        return (self.finished + self.outside) / max(self.cpu_s, 1e-9)


def request(session: int) -> bytes:
    """Return a plan's request as bytes."""
    body = json.dumps({"session_id": f"s{session}", **PLAN}).encode()
    head = "POST /plan HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One connection, one request at a time."""

    def __init__(self, port: int, session: int) -> None:
        self._port, self.request = port, request(session)
        self._reader: asyncio.StreamReader | None = None

    async def send(self, seen: Seen) -> None:
        """Send the request and wait for its response; count it."""
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        began_s = time.perf_counter()
        seen.offered += seen.from_s <= began_s <= seen.until_s
        self._writer.write(self.request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        body, now_s = await self._reader.readexactly(length), time.perf_counter()
        counts = seen.from_s <= now_s <= seen.until_s
        if head.startswith(b"http/1.1 429"):
            if counts:
                seen.refused_ms.append(1e3 * (now_s - began_s))
        elif not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"/plan failed: {body[:500]!r}")
        elif counts:
            seen.finished += 1
        else:
            seen.outside += 1

    def close(self) -> None:
        """Close the connection."""
        if self._reader is not None:
            self._writer.close()


async def without_pause(port: int, connections: int, seconds: float) -> Seen:
    """Let connections ask again as soon as they are answered, whatever the answer."""
    seen = Seen.now(seconds)
    clients = [Connection(port, number) for number in range(connections)]

    async def ask(client: Connection) -> None:
        while time.perf_counter() < seen.until_s:
            await client.send(seen)

    async with asyncio.timeout(SETTLE_S + seconds + PATIENCE_S):
        await asyncio.gather(*map(ask, clients))
    for client in clients:
        client.close()
    return seen


async def at_rate(port: int, per_s: float, seconds: float) -> Seen:
    """Send requests at an even rate, whatever the server answers; each client comes once."""
    seen, began_s = Seen.now(seconds), time.perf_counter()
    idle, count = list[Connection](), 0

    async def ask(client: Connection, session: int) -> None:
        client.request = request(session)  # connections are used again, as a proxy does
        await client.send(seen)
        idle.append(client)

    async with asyncio.timeout(SETTLE_S + seconds + PATIENCE_S), asyncio.TaskGroup() as group:
        while (due_s := began_s + count / per_s) < seen.until_s:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            session = count % load.SESSIONS
            client = idle.pop() if idle else Connection(port, session)
            group.create_task(ask(client, session))
            count += 1
    for client in idle:
        client.close()
    return seen
