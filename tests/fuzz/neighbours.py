"""Two sessions that step along beside generated input: their dreams must not change by a bit."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from dreamserve.api.codec import encode
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.simple import SimpleEngine
from dreamserve.validation import validated
from dreamserve_protocol.errors import ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.verbs import BY_REQUEST

TURNS = 10_000
NAMES = ("left", "right")
Send = Callable[[Request[Any]], bytes]  # returns the result as msgpack


class Neighbours:
    """The sessions on the server under test (`send`), and undisturbed on a twin of it."""

    def __init__(self, send: Send) -> None:
        self._send, self._twin = send, SimpleEngine([fake_world()])
        self.steps = 0
        for seed, name in enumerate(NAMES):
            self._compare(ResetRequest(session_id=name, seed=seed, include=["frame"]))

    def step(self) -> None:
        """Let both take a step; they begin anew before they end."""
        self.steps += 1
        for seed, name in enumerate(NAMES):
            if self.steps % 8 == 0:
                self._compare(ResetRequest(session_id=name, seed=self.steps + seed))
            self._compare(StepRequest(name, self.steps % 2, include=["frame", "state"]))

    def _compare(self, request: Request[Any]) -> None:
        try:
            expected = encode(self._twin.send(validated(type(request), request)), True)
        except ProblemError as error:
            with pytest.raises(type(error)):
                self._send(request)
        else:
            assert self._send(request) == expected, f"{request} has another result"


class Driven:
    """An engine that the caller's thread drives."""

    def __init__(self, **options: Any) -> None:
        self.engine = Engine([fake_world()], **options)

    def send(self, request: Request[Any]) -> Any:
        """Return the result of a valid request, or raise its error."""
        future = self.engine.submit(request)
        for _ in range(TURNS):
            self.engine.turn()
            if future.done():
                break
        return future.result(timeout=0)

    def try_all(self, requests: Iterable[Request[Any]]) -> None:
        """Send requests; each may fail only as its verb declares, and not as a failed engine."""
        for request in requests:
            try:
                self.send(validated(type(request), request))
            except ProblemError as error:
                assert type(error) in BY_REQUEST[type(request)].all_errors, error
                assert error.code != "engine_failed", error
