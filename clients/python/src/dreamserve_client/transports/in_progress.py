"""The calls in progress on one WebSocket, each of which waits for the response with its id."""

from copy import copy
from threading import Event
from typing import Generic, Protocol, TypeVar

from dreamserve_client.codec import JSON, MSGPACK, Fields
from dreamserve_client.errors import APIConnectionError
from dreamserve_client.problems import problem_from
from dreamserve_protocol.errors import DreamserveError, TooLargeError

TOO_LARGE = 1009  # close code for a frame beyond the server's bound
NO_CLOSE_FRAME = 1006

Response = tuple[int, Fields]  # status and body


class Outcome(Protocol):
    """Where a call waits for its response: a future, of asyncio or like it."""

    def done(self) -> bool:
        """Return whether there is a response or an error."""

    def set_result(self, result: Response, /) -> None:
        """Give the call its response."""

    def set_exception(self, error: BaseException, /) -> None:
        """Give the call an error."""


class Waiting:
    """The outcome for which a thread waits; `wake` is set when there is something to do for it."""

    def __init__(self) -> None:
        self.wake = Event()
        self._outcome: Response | BaseException | None = None

    def done(self) -> bool:
        """Return whether there is a response or an error."""
        return self._outcome is not None

    def set_result(self, result: Response) -> None:
        """Give the call its response."""
        self._outcome = result
        self.wake.set()

    def set_exception(self, error: BaseException) -> None:
        """Give the call an error."""
        self._outcome = error
        self.wake.set()

    def result(self) -> Response:
        """Return the response, or raise the error."""
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


AnOutcome = TypeVar("AnOutcome", bound=Outcome)


class InProgress(Generic[AnOutcome]):
    """The calls by id; without I/O, and without a lock."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._waiting: dict[int, tuple[AnOutcome, int]] = {}  # and the size of the request in bytes

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, id: int, outcome: AnOutcome, frame_bytes: int) -> None:
        """Add a call whose request is sent."""
        self._waiting[id] = outcome, frame_bytes

    def remove(self, id: int) -> None:
        """Remove a call; its response is dropped if it comes later."""
        self._waiting.pop(id, None)

    def take(self, message: str | bytes) -> None:
        """Hand a response to its call. Raises one of UNREADABLE for what is none."""
        text = isinstance(message, str)
        raw = message.encode() if isinstance(message, str) else message
        id, status, body = _parts((JSON if text else MSGPACK).decode(raw))
        if id is None:  # the server could not read a request, not even its id
            self._fail_largest(problem_from(f"{self._server} answered {status}", status, body))
        elif id in self._waiting and not (outcome := self._waiting[id][0]).done():
            outcome.set_result((status, body))

    def lost(self, code: int | None, reason: str | None) -> None:
        """Fail all calls, because the socket was closed with this code and reason."""
        if code == TOO_LARGE:
            self._fail_largest(TooLargeError("the server takes no request of this size"))
        why = f"code {code}{f', {reason}' if reason else ''}"
        self.fail(APIConnectionError(f"the connection to {self._server} was lost ({why})"))

    def fail(self, error: DreamserveError) -> None:
        """Give an error to all calls that still wait."""
        for outcome, _ in self._waiting.values():
            _fail(outcome, copy(error))  # each is raised in another thread

    def oldest(self) -> AnOutcome | None:
        """Return the oldest call that still waits."""
        return next((outcome for outcome, _ in self._waiting.values() if not outcome.done()), None)

    def _fail_largest(self, error: DreamserveError) -> None:
        """Fail the largest request: an error that names none is about size."""
        if self._waiting:
            _fail(max(self._waiting.values(), key=lambda one: one[1])[0], error)


def _parts(response: Fields) -> tuple[int | None, int, Fields]:
    """Return the id, status and body of a response. Raises TypeError for one that is none."""
    id, status, body = (response.get(name) for name in ("id", "status", "body"))
    if isinstance(id, int | None) and isinstance(status, int) and isinstance(body, dict | None):
        return id, status, body or {}
    raise TypeError("no response of /stream")


def _fail(outcome: Outcome, error: DreamserveError) -> None:
    if not outcome.done():
        outcome.set_exception(error)
