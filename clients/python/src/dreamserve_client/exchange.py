"""One call from request to result: everything that both clients share, which is all but the I/O."""

from dataclasses import dataclass, replace
from typing import Any, Generic, Literal

from dreamserve_client.calls import Call, Fields, R, call_of
from dreamserve_client.codec import UNREADABLE
from dreamserve_client.errors import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    ProtocolError,
)
from dreamserve_client.retries import MOST_RETRIES, RETRIED_STATUSES, RetryPolicy
from dreamserve_client.step_numbers import StepNumbers
from dreamserve_client.timeouts import check_timeout, is_long, timeout_s_of
from dreamserve_protocol.batches import DeleteBatchResult, ResetBatchResult, RowError
from dreamserve_protocol.branches import ForkRequest
from dreamserve_protocol.errors import (
    DrainingError,
    DreamserveError,
    ProblemError,
    SessionNotFoundError,
    StoreUnavailableError,
    WorldNotFoundError,
    problem_of,
)
from dreamserve_protocol.ids import MAX_ROUTE, SEPARATOR, is_route
from dreamserve_protocol.markers import Request
from dreamserve_protocol.sessions import DeleteRequest
from dreamserve_protocol.worlds import UnloadWorldRequest

# What a delete finds after another one has done its work.
_DELETED: dict[type[Request[Any]], type[ProblemError]] = {
    DeleteRequest: SessionNotFoundError,
    UnloadWorldRequest: WorldNotFoundError,
}
_LOST_BEHIND_A_PROXY = (502, 504)
MOST_ROUTES = 10  # other routes that one call tries while servers drain
Frames = Literal["array", "png"]


@dataclass(frozen=True)
class Options:
    """What a client does with all its calls; without a timeout each verb has its own.

    `route` begins the ids of the sessions that it creates, but for those of forks.
    """

    timeout_s: float | None = None
    max_retries: int = MOST_RETRIES
    route: str | None = None
    frames: Frames = "array"  # what results hold: uint8 arrays, or the bytes of PNG files

    def __post_init__(self) -> None:
        check_timeout(self.timeout_s)
        RetryPolicy(self.max_retries)
        if self.route is not None and not is_route(self.route):
            valid = f"1 to {MAX_ROUTE} characters of A-Z, a-z, 0-9, _ and -, without {SEPARATOR}"
            raise ConfigurationError(f"route must be {valid}, not {self.route!r}")
        if self.frames not in ("array", "png"):
            raise ConfigurationError(f"frames must be 'array' or 'png', it is {self.frames!r}")

    def changed(
        self, timeout_s: float | None, max_retries: int | None, frames: Frames | None
    ) -> "Options":
        """Return these options with those that are given."""
        return replace(
            self,
            timeout_s=self.timeout_s if timeout_s is None else timeout_s,
            max_retries=self.max_retries if max_retries is None else max_retries,
            frames=self.frames if frames is None else frames,
        )


class Exchange(Generic[R]):
    """A call with its step number, its timeout, and the attempts made so far."""

    def __init__(
        self,
        request: Request[R] | Call[R],
        numbers: StepNumbers,
        options: Options,
        timeout_s: float | None = None,
    ) -> None:
        self._keep_png, self._numbers = options.frames == "png", numbers
        self._unnamed, self._route = call_of(request), options.route
        self._attempt = self._routes = 0
        self._may_be_done = False  # by an attempt whose response was lost, or that failed for a row
        self._never_were: set[int] = set()  # rows of a delete that were not there before that
        self.call = self._named()
        chosen_s = check_timeout(timeout_s) or options.timeout_s
        self.timeout_s = chosen_s or timeout_s_of(self.call.request)
        self._policy = RetryPolicy(options.max_retries)

    def _named(self) -> Call[R]:
        """Return the call with ids, of random routes where none is chosen, and step numbers."""
        unnamed = self._unnamed.without_ids() if self._routes else self._unnamed
        call = unnamed.with_ids(self._route)
        return self._numbers.number(call.with_png() if self._keep_png else call)

    def result(self, fields: Fields) -> R:
        """Return the result that a response's fields hold. Raises ProtocolError."""
        answered = f"{self.call.verb.method} {self.call.path} answered"
        try:
            result = self.call.read(fields, self._keep_png)
        except UNREADABLE as error:
            raise ProtocolError.of(answered, error) from error
        _check_sessions(answered, self.call.request, result)
        if self._may_be_done and isinstance(result, DeleteBatchResult):
            result = replace(result, errors=[row for row in result.errors if self._failed(row)])
        self._numbers.note(self.call.request, result)
        return result

    def is_done(self, error: DreamserveError) -> bool:
        """Return whether `error` tells that a delete whose response was lost did its work."""
        found = _DELETED.get(type(self.call.request))
        return self._may_be_done and found is not None and isinstance(error, found)

    def wait_s(self, error: DreamserveError) -> float | None:
        """Return how long to wait before the next attempt; None: `error` is final."""
        if isinstance(error, DrainingError) and self._may_be_elsewhere():
            self._routes += 1
            self.call = self._named()
            return self._policy.wait_s(error, 0, may_be_resent=True)
        request = self.call.request
        working = isinstance(error, APITimeoutError) and error.sent and is_long(request)
        may_be_resent = request.may_be_resent() and not working
        wait_s = self._policy.wait_s(error, self._attempt, may_be_resent)
        self._attempt += 1
        self._may_be_done |= _may_have_arrived(error)
        return wait_s

    def rows_wait_s(self, result: R) -> float | None:
        """Return how long to wait before a batch with failed rows is sent again; None: not at all.

        Rows of a delete are as idempotent as it is. New sessions that a draining server refuses
        begin together, elsewhere: what it began ends with it.
        """
        match result:
            case DeleteBatchResult(errors=[*errors]):
                refused = [row for row in errors if row.status in RETRIED_STATUSES]
            case ResetBatchResult(errors=[*errors]) if self._may_be_elsewhere():
                refused = [row for row in errors if row.code == DrainingError.code]
            case _:
                return None
        if not refused:
            return None
        first = refused[0]
        wait_s = self.wait_s(problem_of(first.code, first.status, first.detail))
        if isinstance(result, DeleteBatchResult):
            self._never_were |= {row.row for row in errors if row.code == SessionNotFoundError.code}
            self._may_be_done = True
        return wait_s

    def _failed(self, row: RowError) -> bool:
        """Return whether a row of a repeated delete has failed: not if it was done before."""
        return row.code != SessionNotFoundError.code or row.row in self._never_were

    def _may_be_elsewhere(self) -> bool:
        """Return whether new sessions may have another route, which leads to another server."""
        is_chosen = self._route is not None or isinstance(self.call.request, ForkRequest)
        unnamed = self._unnamed.without_ids()
        is_named = unnamed.with_ids() is unnamed
        return not (is_chosen or is_named) and self._routes < MOST_ROUTES


def _may_have_arrived(error: DreamserveError) -> bool:
    """Return whether the server may have done what was asked for, although this error came."""
    if isinstance(error, ProblemError):
        unknown = isinstance(error, StoreUnavailableError)  # the store may have done it
        return unknown or error.status in _LOST_BEHIND_A_PROXY
    if isinstance(error, APITimeoutError):
        return error.sent
    return isinstance(error, APIConnectionError)


def _check_sessions(answered: str, request: Request[Any], result: Any) -> None:
    """Raise ProtocolError for a result of other sessions than those of the request."""
    asked, named = (getattr(one, "session_id", None) for one in (request, result))
    if asked is not None and named is not None and asked != named:
        raise ProtocolError(f"{answered} of session {named}, not of {asked}")
    asked, named = (getattr(one, "session_ids", None) for one in (request, result))
    if asked is not None and named is not None and list(asked) != list(named):
        raise ProtocolError(f"{answered} of other sessions, or in another order")
