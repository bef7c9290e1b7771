"""Clients of many kinds for `soak`: they dream, plan, fork, abandon, stream, and hang up."""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

import numpy as np

from dreamserve_client import AsyncDreamClient
from dreamserve_protocol.listing import SessionsRequest

STEPS = (5, 60)  # of a dream
FILL_ROWS = 1000


class Crowd:
    """Visitors of one server, each of which begins again until it is told to stop.

    The requests of all of them together keep to a rate.
    """

    def __init__(self, port: int) -> None:
        self._port, self._url = port, f"http://127.0.0.1:{port}"
        self._client = AsyncDreamClient(self._url, max_retries=0)
        self._random = random.Random(0)
        self._interval_s, self._next_s = 0.0, 0.0
        self._is_over = asyncio.Event()
        self.requests = 0
        self.failures: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()

    async def sessions(self) -> int:
        """Return the server's number of sessions."""
        return (await self._client.send(SessionsRequest(limit=1))).total

    async def fill(self, count: int) -> int:
        """Begin so many sessions, then end them; return how many were refused."""
        began, refused = [], 0
        for first in range(0, count, FILL_ROWS):
            batch = await self._client.reset_batch(min(FILL_ROWS, count - first))
            failed = {error.row for error in batch.errors}
            began += [one for row, one in enumerate(batch.session_ids) if row not in failed]
            refused += len(failed)
        for first in range(0, len(began), FILL_ROWS):
            await self._client.delete_batch(began[first : first + FILL_ROWS])
        return refused

    async def measure(self, seconds: float) -> float:
        """Return the requests per second of the visitors without a pause."""
        before = self.requests
        began_s = time.monotonic()
        async with self.visiting(None):
            await asyncio.sleep(seconds)
            return (self.requests - before) / (time.monotonic() - began_s)

    @asynccontextmanager
    async def visiting(self, requests_per_s: float | None) -> AsyncIterator[None]:
        """Let visitors come until the block ends; then each one finishes its visit."""
        self._interval_s = 0.0 if requests_per_s is None else 1.0 / requests_per_s
        self._next_s = time.monotonic()
        self._is_over.clear()
        kinds = 12 * [self._dreamer] + 2 * [self._streamer] + 2 * [self._leaver] + [self._batcher]
        coming = [asyncio.create_task(self._again(kind)) for kind in kinds]
        try:
            yield
        finally:
            self._is_over.set()
            await asyncio.gather(*coming)

    async def _again(self, visit: Callable[[], Awaitable[None]]) -> None:
        while not self._is_over.is_set():
            try:
                await visit()
            except Exception as error:
                failure = f"{visit.__name__} after {self.requests:,} requests: {error!r}"
                print(failure, file=sys.stderr, flush=True)
                self.failures.append(failure)
                await asyncio.sleep(0.1)

    async def _turn(self) -> None:
        """Wait until a request may be sent."""
        self.requests += 1
        now_s = time.monotonic()
        self._next_s = max(self._next_s + self._interval_s, now_s - 1.0)  # at most 1 s is made up
        if self._interval_s and self._next_s > now_s:
            await asyncio.sleep(self._next_s - now_s)

    async def _dream(self, client: AsyncDreamClient, rewind_window: int = 0) -> str:
        await self._turn()
        began = await client.reset(seed=self._random.getrandbits(32), rewind_window=rewind_window)
        for _ in range(self._random.randint(*STEPS)):
            await self._turn()
            after = await client.step(began.session_id, self._random.randrange(3))
            if after.terminated:
                break
        return began.session_id

    async def _dreamer(self) -> None:
        client, chance = self._client, self._random.random()
        session_id = await self._dream(client, rewind_window=8 if chance < 0.3 else 0)
        await self._turn()
        state = await client.session(session_id)
        if chance < 0.15 and not state.terminated:
            await self._turn()
            await client.plan(session_id, horizon=5, candidates=16)
        elif chance < 0.3:
            await self._turn()
            forks = await client.fork(session_id, count=3)
            await self._turn()
            await client.delete_batch(forks.session_ids)
        if chance < 0.85:  # the others abandon their session
            await self._turn()
            await client.delete(session_id)

    async def _batcher(self) -> None:
        await self._turn()
        async with await self._client.dreams(8, on_end="restart") as dreams:
            for _ in range(20):
                await self._turn()
                await dreams.step(np.zeros(8, np.int64))

    async def _streamer(self) -> None:
        async with AsyncDreamClient(self._url, transport="stream", max_retries=0) as client:
            session_id = await self._dream(client)
            if self._random.random() < 0.7:
                await self._turn()
                await client.delete(session_id)

    async def _leaver(self) -> None:
        """Hang up in the middle of a request, or of its response."""
        session_id = await self._dream(self._client)
        plan = self._random.random() < 0.5
        body = {"session_id": session_id, "horizon": 30} if plan else {"session_id": session_id}
        content = json.dumps(body).encode()
        head = f"POST /{'plan' if plan else 'step'} HTTP/1.1\r\nhost: localhost\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        message = head.encode() + content
        await self._turn()
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(message if plan else message[:-5])
        await writer.drain()
        writer.transport.abort()
