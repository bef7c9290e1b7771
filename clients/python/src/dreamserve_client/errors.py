"""Everything a call can raise, as one tree; a status error's class goes by the answer's `code`.

DreamserveError
├── APIConnectionError              no answer came: refused, reset, unreachable
│   └── APITimeoutError             no answer came within `timeout_s`
├── ProtocolError                   an answer came that is not dreamserve's
└── APIStatusError                  the server answered 4xx or 5xx: code, detail, status, request_id
    ├── InvalidRequestError         invalid_request
    ├── InvalidActionError          invalid_action
    ├── NotFiniteError              not_finite          NaN or infinity, sent or dreamt
    ├── UnauthorizedError           unauthorized
    ├── SessionNotFoundError        session_not_found
    ├── SessionExpiredError         session_expired
    ├── SessionLostError            session_lost
    ├── WorldNotFoundError          world_not_found
    ├── StepConflictError           step_conflict       never retried
    ├── SnapshotRefusedError        snapshot_refused
    ├── TooLargeError               too_large
    ├── OverloadedError             overloaded
    └── ServerError                 engine_failed, and every 5xx without a code of its own
        └── DrainingError           draining
"""

from typing import ClassVar


class DreamserveError(Exception):
    """Base of all errors that this package raises on purpose."""


class APIConnectionError(DreamserveError):
    """No answer came; whether the server acted on the request is not known."""


class APITimeoutError(APIConnectionError):
    """No answer came within `timeout_s`; whether the server acted on the request is not known."""


class ProtocolError(DreamserveError):
    """An answer came that is not dreamserve's: is `base_url` right?"""


class APIStatusError(DreamserveError):
    """The server answered with a problem (RFC 9457).

    `code` names the problem, `detail` says what was wrong and what would be right, `status` is
    HTTP's, `request_id` finds the request in the server's log, `retry_after_s` is the wait that
    the server asked for, if it did.
    """

    wire_codes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        status: int,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{detail} [{code}, HTTP {status}, request {request_id or 'unknown'}]")
        self.detail = detail
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class InvalidRequestError(APIStatusError):
    """A field is missing, unknown, or of the wrong type, shape or range."""

    wire_codes = ("invalid_request",)


class InvalidActionError(APIStatusError):
    """The action is not in the world's action space."""

    wire_codes = ("invalid_action",)


class NotFiniteError(APIStatusError):
    """NaN or infinity: in the request (422), or dreamt by the world (500); nothing changed."""

    wire_codes = ("not_finite",)


class UnauthorizedError(APIStatusError):
    """The key is missing or wrong."""

    wire_codes = ("unauthorized",)


class SessionNotFoundError(APIStatusError):
    """No such session, or not this caller's."""

    wire_codes = ("session_not_found",)


class SessionExpiredError(APIStatusError):
    """The session was idle for longer than its time to live."""

    wire_codes = ("session_expired",)


class SessionLostError(APIStatusError):
    """The session was held by a server that is gone."""

    wire_codes = ("session_lost",)


class WorldNotFoundError(APIStatusError):
    """No world of that name is loaded."""

    wire_codes = ("world_not_found",)


class StepConflictError(APIStatusError):
    """The step is out of order, repeated with other content, or the dream has ended."""

    wire_codes = ("step_conflict",)


class SnapshotRefusedError(APIStatusError):
    """The snapshot is damaged, of another format, or of another world's bundle."""

    wire_codes = ("snapshot_refused",)


class TooLargeError(APIStatusError):
    """The body, or the work it asks for, is over the server's bound."""

    wire_codes = ("too_large",)


class OverloadedError(APIStatusError):
    """The server is full; it was asked again, as often as `max_retries` allows."""

    wire_codes = ("overloaded",)


class ServerError(APIStatusError):
    """The server is at fault; the session keeps its last good state."""

    wire_codes = ("engine_failed",)


class DrainingError(ServerError):
    """The server is shutting down."""

    wire_codes = ("draining",)


_LEAVES = (
    InvalidRequestError,
    InvalidActionError,
    NotFiniteError,
    UnauthorizedError,
    SessionNotFoundError,
    SessionExpiredError,
    SessionLostError,
    WorldNotFoundError,
    StepConflictError,
    SnapshotRefusedError,
    TooLargeError,
    OverloadedError,
    ServerError,
    DrainingError,
)
BY_CODE: dict[str, type[APIStatusError]] = {
    code: leaf for leaf in _LEAVES for code in leaf.wire_codes
}


def error_class(code: str, status: int) -> type[APIStatusError]:
    """Return the class for a problem; a code that this version does not know goes by status."""
    return BY_CODE.get(code, ServerError if status >= 500 else APIStatusError)
