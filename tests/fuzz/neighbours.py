"""Two sessions that step along beside generated input: their dreams must not change by a bit."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from dreamserve.api.codec import encode
from dreamserve.engine.engine import Engine
from dreamserve.engine.fake import fake_world
from dreamserve.engine.simple import SimpleEngine
from dreamserve.validation import validated
from dreamserve_protocol.errors import MAX_DETAIL, EngineFailedError, ProblemError
from dreamserve_protocol.markers import Request
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.verbs import BY_REQUEST

TURNS = 10_000
R = TypeVar("R")
NAMES = ("near", "far")  # that no generated input names
Send = Callable[[Request[Any]], bytes]  # returns the result as msgpack


def assert_declared(error: ProblemError, kinds: Iterable[type[ProblemError]]) -> None:
    """Assert that an error is clear, and one of those that are documented."""
    assert type(error) in kinds, error
    assert type(error) is not EngineFailedError, error
    assert 0 < len(error.detail) <= MAX_DETAIL


class Neighbours:
    """The sessions on the server under test (`send`), and undisturbed on a twin of it."""

    def __init__(self, send: Send) -> None:
        self._send, self._twin = send, SimpleEngine([fake_world()])
        self._steps = 0
        self._ended = set(NAMES)

    def step(self) -> None:
        """Let both take a step, after a new beginning if their dreams have ended."""
        self._steps += 1
        for seed, name in enumerate(NAMES, self._steps):
            if name in self._ended:
                self._compare(ResetRequest(session_id=name, seed=seed, include=["frame"]))
                self._ended.discard(name)
            request = StepRequest(name, self._steps % 2, include=["frame", "state"])
            if self._compare(request).terminated:
                self._ended.add(name)

    def _compare(self, request: Request[R]) -> R:
        result = self._twin.send(validated(type(request), request))
        assert self._send(request) == encode(result, True), f"{request} has another result"
        return result


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
                assert_declared(error, BY_REQUEST[type(request)].all_errors)
