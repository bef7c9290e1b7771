"""A session outlives its socket: it is resumed by its id and step."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamserve.api.codec import encode
from dreamserve.engine.fake import fake_world
from dreamserve.local import LocalClient

FORMS = ["json", "msgpack"]
PATIENCE_S = 30.0


Connected = Callable[[str], AbstractAsyncContextManager[Any]]


class Dreamer:
    """A client that resumes its dreams on a new socket, by their ids and steps."""

    def __init__(self, connected: Connected, sessions: list[str], length: int) -> None:
        self.connected, self.length = connected, length
        self.answers: dict[str, list[Any]] = {name: [] for name in sessions}

    @property
    def unfinished(self) -> list[str]:
        return [name for name, answers in self.answers.items() if len(answers) <= self.length]

    async def dream_until_cut(self, form: str, answers_read: int, abruptly: bool) -> None:
        """Continue all dreams on a new socket until `answers_read` responses have arrived."""
        async with self.connected(form) as peer:
            for name in self.unfinished:
                await self._ask_next(peer, name)
            while self.unfinished and answers_read:
                answer = await peer.receive()
                assert answer["status"] == 200, answer
                name, answers_read = answer["id"], answers_read - 1
                self.answers[name].append(answer["body"])
                if name in self.unfinished:
                    await self._ask_next(peer, name)
            if abruptly:
                peer.socket.transport.abort()

    async def _ask_next(self, peer: Any, name: str) -> None:
        number = len(self.answers[name])
        if number == 0:
            question = {"verb": "reset", "body": {"session_id": name, "seed": 7}}
        else:
            body = {"session_id": name, "action": number % 2, "step": number}
            question = {"verb": "step", "body": body}
        await peer.send({"id": name, **question})


CUTS = st.lists(
    st.tuples(st.sampled_from(FORMS), st.integers(0, 12), st.booleans()), min_size=1, max_size=8
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cuts=CUTS, count=st.integers(1, 5))
def test_no_step_is_lost_or_doubled_however_the_socket_is_cut(
    server, peer_of, listed, cuts, count
) -> None:
    sessions, length = [f"cut{i}" for i in range(count)], 8
    dreamer = Dreamer(partial(peer_of, server), sessions, length)

    async def dream() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            for form, answers_read, abruptly in cuts:
                await dreamer.dream_until_cut(form, answers_read, abruptly)
            await dreamer.dream_until_cut("json", 10**6, abruptly=False)

    asyncio.run(dream())
    expected = reference(length)
    for name, answers in dreamer.answers.items():
        assert listed(answers) == [{**one, "session_id": name} for one in expected]


def reference(length: int) -> list[Any]:
    """Return the results of the same dream, in process."""
    client = LocalClient(fake_world())
    results: list[Any] = [client.reset(session_id="s", seed=7)]
    results += [client.step("s", number % 2, step=number) for number in range(1, length + 1)]
    return [orjson.loads(encode(result, as_msgpack=False)) for result in results]
