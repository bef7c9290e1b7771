"""Everything that a verb can answer instead of its result, as one tree with codes.

DreamserveError
└── ProblemError                    an RFC 9457 problem: status, code, detail
    ├── CallerError                 4xx: the request is at fault, and nothing changed
    │   ├── InvalidRequestError     invalid_request    422
    │   ├── InvalidActionError      invalid_action     422
    │   ├── NotFiniteInputError     not_finite         422
    │   ├── SessionNotFoundError    session_not_found  404
    │   ├── SessionExpiredError     session_expired    410
    │   ├── StepConflictError       step_conflict      409
    │   ├── DreamEndedError         dream_ended        409
    │   ├── SnapshotRefusedError    snapshot_refused   409
    │   ├── WorldNotFoundError      world_not_found    404
    │   ├── TooLargeError           too_large          413
    │   ├── OverloadedError         overloaded         429, Retry-After
    │   ├── BadRequestError         bad_request        400
    │   ├── ForbiddenOriginError    forbidden_origin   403
    │   ├── PathNotFoundError       not_found          404
    │   ├── MethodNotAllowedError   method_not_allowed 405
    │   ├── RequestTimeoutError     request_timeout    408
    │   ├── HeadersTooLargeError    headers_too_large  431
    │   └── UnsupportedMediaTypeError  unsupported_media_type 415
    └── ServerError                 5xx: the server is at fault; the session keeps its last state
        ├── DreamNotFiniteError     dream_not_finite   500
        ├── EngineFailedError       engine_failed      500
        ├── InternalError           internal_error     500
        ├── UnsupportedHttpError    not_implemented    501
        ├── NotReadyError           not_ready          503, Retry-After
        └── DrainingError           draining           503, Retry-After

The service raises these; the SDK raises the same classes for what it was answered. `remedy` says
what the caller can do; the documentation's table of errors is made of it.
"""

from typing import ClassVar

MAX_DETAIL = 1000  # characters: a problem may quote what was sent, never repeat all of it


class DreamserveError(Exception):
    """Base of all errors that dreamserve raises on purpose; its message is for people."""


class ProblemError(DreamserveError):
    """A request was answered with a problem (RFC 9457).

    `code` tells errors apart, `status` is HTTP's, `detail` says what was wrong, where, and what
    would be right. `request_id` finds the request in the server's log, `retry_after_s` is the wait
    that the server asks for, if it does.
    """

    code: str = ""  # of a leaf of the tree; a code that this version does not know is set by hand
    status: int = 0
    retry_after_s: float | None = None
    request_id: str | None = None
    remedy: ClassVar[str] = ""

    def __init__(self, detail: str) -> None:
        if len(detail) > MAX_DETAIL:
            detail = f"{detail[: MAX_DETAIL - 1]}…"
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        if self.request_id is None:
            return self.detail
        return f"{self.detail} [{self.code}, HTTP {self.status}, request {self.request_id}]"


class CallerError(ProblemError):
    """The request is at fault; nothing changed."""


class InvalidRequestError(CallerError, ValueError):
    """A field is missing, unknown, or of the wrong type, shape or range."""

    code, status = "invalid_request", 422
    remedy = "Correct the request; `detail` names the field."


class InvalidActionError(CallerError, ValueError):
    """The action is not in the world's action space."""

    code, status = "invalid_action", 422
    remedy = "See `action_space` in `GET /worlds/{name}`."


class NotFiniteInputError(CallerError, ValueError):
    """The request holds NaN, infinity, or a number too large for the world."""

    code, status = "not_finite", 422
    remedy = "Correct the request; `detail` names the element."


class SessionNotFoundError(CallerError):
    """No such session, or it was ended."""

    code, status = "session_not_found", 404
    remedy = "`POST /reset` begins one."


class SessionExpiredError(CallerError):
    """The session was idle for longer than its time to live."""

    code, status = "session_expired", 410
    remedy = "`POST /reset` starts it over."


class StepConflictError(CallerError):
    """The step is out of order or repeated with other content; a rewind goes beyond the window."""

    code, status = "step_conflict", 409
    remedy = "Do not retry: `GET /sessions/{session_id}` says where the session is."


class DreamEndedError(CallerError):
    """The dream has ended: it has no next step and no future."""

    code, status = "dream_ended", 409
    remedy = "`POST /reset` starts over, `POST /sessions/{session_id}/rewind` goes back."


class SnapshotRefusedError(CallerError):
    """The snapshot is damaged, of another format, or of another world's bundle."""

    code, status = "snapshot_refused", 409
    remedy = "Restore it as it was answered, where that bundle is loaded."


class WorldNotFoundError(CallerError):
    """No world of that name is loaded."""

    code, status = "world_not_found", 404
    remedy = "See `GET /worlds`."


class TooLargeError(CallerError):
    """The request, or the work that it asks for, is over the server's bound."""

    code, status = "too_large", 413
    remedy = "Ask for less at once; `detail` has the bound."


class OverloadedError(CallerError):
    """All sessions are taken, or too many requests wait."""

    code, status = "overloaded", 429
    retry_after_s = 1.0
    remedy = "Try again after `Retry-After` seconds."


class BadRequestError(CallerError):
    """The bytes are not HTTP."""

    code, status = "bad_request", 400
    remedy = "Correct the client."


class ForbiddenOriginError(CallerError):
    """A web page of another origin sent the request."""

    code, status = "forbidden_origin", 403
    remedy = "List the page's origin in `DREAMSERVE_ALLOWED_ORIGINS`."


class PathNotFoundError(CallerError):
    """No such path."""

    code, status = "not_found", 404
    remedy = "See `/docs`."


class MethodNotAllowedError(CallerError):
    """The path does not answer this method."""

    code, status = "method_not_allowed", 405
    remedy = "See `/docs`; the header `Allow` lists the methods."
    allowed = ""  # methods, as in the header


class RequestTimeoutError(CallerError):
    """The request did not arrive in time: nothing more of it came."""

    code, status = "request_timeout", 408
    remedy = "Send the request in one go."


class HeadersTooLargeError(CallerError):
    """The request line and headers are over the server's bound."""

    code, status = "headers_too_large", 431
    remedy = "Send fewer or shorter headers."


class UnsupportedMediaTypeError(CallerError):
    """The body's media type or content encoding is not read here, or not given."""

    code, status = "unsupported_media_type", 415
    remedy = "Set `Content-Type` to `application/json` or `application/msgpack`."


class ServerError(ProblemError):
    """The server is at fault; the session keeps its last good state."""


class DreamNotFiniteError(ServerError):
    """The world computed NaN or infinity; the step was not taken."""

    code, status = "dream_not_finite", 500
    remedy = "Try another action, or `POST /reset`."


class EngineFailedError(ServerError):
    """The batch could not be computed; the step was not taken."""

    code, status = "engine_failed", 500
    remedy = "Try again; the server's log says why."


class InternalError(ServerError):
    """An error that nobody foresaw."""

    code, status = "internal_error", 500
    remedy = "Report it with its `request_id`, under which the server's log has it."


class UnsupportedHttpError(ServerError):
    """The request uses a part of HTTP that this server does not have."""

    code, status = "not_implemented", 501
    remedy = "Send the body with Content-Length or chunked; this server is no proxy."


class NotReadyError(ServerError):
    """The engine is warming up, or failed to start."""

    code, status = "not_ready", 503
    retry_after_s = 1.0
    remedy = "Wait."


class DrainingError(ServerError):
    """The server is shutting down and takes no new sessions."""

    code, status = "draining", 503
    retry_after_s = 1.0
    remedy = "Ask another replica, or try again after `Retry-After` seconds."


def leaves(kind: type[ProblemError] = ProblemError) -> list[type[ProblemError]]:
    """Return every error that has a code, in the order of the tree."""
    own = [kind] if kind.code else []
    return [*own, *(leaf for child in kind.__subclasses__() for leaf in leaves(child))]


def problem_of(code: str, status: int, detail: str) -> ProblemError:
    """Return the error that an answered problem stands for.

    A code that this version does not know gets the class of its status, and keeps its code.
    """
    kind = _BY_CODE.get(code) or (ServerError if status >= 500 else CallerError)
    error = kind(detail)
    error.code, error.status, error.retry_after_s = code, status, None
    return error


_BY_CODE = {leaf.code: leaf for leaf in leaves()}
