"""One call from request to result: everything that both clients share, which is all but the I/O."""

from dataclasses import dataclass, replace
from typing import Generic, Literal

from dreamserve_client.calls import Call, Fields, R, call_of
from dreamserve_client.codec import UNREADABLE
from dreamserve_client.errors import APITimeoutError, ConfigurationError, ProtocolError
from dreamserve_client.retries import MOST_RETRIES, RetryPolicy
from dreamserve_client.step_numbers import StepNumbers
from dreamserve_client.timeouts import check_timeout, is_long, timeout_s_of
from dreamserve_protocol.errors import DreamserveError
from dreamserve_protocol.ids import MAX_ROUTE, SEPARATOR, is_route
from dreamserve_protocol.markers import Request

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
        self._keep_png = options.frames == "png"
        call = call_of(request).with_ids(options.route)
        self.call = numbers.number(call.with_png() if self._keep_png else call)
        chosen_s = check_timeout(timeout_s) or options.timeout_s
        self.timeout_s = chosen_s or timeout_s_of(self.call.request)
        self._numbers, self._policy = numbers, RetryPolicy(options.max_retries)
        self._attempt = 0

    def result(self, fields: Fields) -> R:
        """Return the result that a response's fields hold. Raises ProtocolError."""
        try:
            result = self.call.read(fields, self._keep_png)
        except UNREADABLE as error:
            verb = self.call.verb
            raise ProtocolError.of(f"{verb.method} {self.call.path} answered", error) from error
        self._numbers.note(self.call.request, result)
        return result

    def wait_s(self, error: DreamserveError) -> float | None:
        """Return how long to wait before the next attempt; None: `error` is final."""
        request = self.call.request
        working = isinstance(error, APITimeoutError) and error.sent and is_long(request)
        may_be_resent = request.may_be_resent() and not working
        wait_s = self._policy.wait_s(error, self._attempt, may_be_resent)
        self._attempt += 1
        return wait_s
