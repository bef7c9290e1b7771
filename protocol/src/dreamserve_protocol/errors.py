"""The errors that a verb can return instead of its result, as one tree with codes.

DreamserveError
└── ProblemError                    an RFC 9457 problem: status, code, detail
    ├── CallerError                 4xx: the request is at fault, and nothing changed
    │   ├── InvalidRequestError     invalid_request    422
    │   ├── InvalidActionError      invalid_action     422
    │   ├── NotFiniteInputError     not_finite         422
    │   ├── SessionNotFoundError    session_not_found  404
    │   ├── SessionExpiredError     session_expired    410
    │   ├── SessionLostError        session_lost       410
    │   ├── StepConflictError       step_conflict      409
    │   ├── DreamEndedError         dream_ended        409
    │   ├── SnapshotRefusedError    snapshot_refused   409
    │   ├── WorldNotFoundError      world_not_found    404
    │   ├── TooLargeError           too_large          413
    │   ├── OverloadedError         overloaded         429, Retry-After
    │   ├── RateLimitedError        rate_limited       429, Retry-After
    │   ├── UnauthorizedError       unauthorized       401, WWW-Authenticate
    │   ├── ForbiddenError          forbidden          403
    │   ├── BadRequestError         bad_request        400
    │   ├── ForbiddenOriginError    forbidden_origin   403
    │   ├── PathNotFoundError       not_found          404
    │   ├── MethodNotAllowedError   method_not_allowed 405
    │   ├── RequestTimeoutError     request_timeout    408
    │   ├── DeadlinePassedError     deadline_passed    408
    │   ├── HeadersTooLargeError    headers_too_large  431
    │   └── UnsupportedMediaTypeError  unsupported_media_type 415
    └── ServerError                 5xx: the server is at fault; the session is unchanged
        ├── DreamNotFiniteError     dream_not_finite   500
        ├── EngineFailedError       engine_failed      500
        ├── InternalError           internal_error     500
        ├── UnsupportedHttpError    not_implemented    501
        ├── NotReadyError           not_ready          503, Retry-After
        ├── SessionMovedError       session_moved      503, Retry-After
        ├── StoreUnavailableError   store_unavailable  503, Retry-After
        └── DrainingError           draining           503, Retry-After

The service raises these errors; the SDK raises the same classes for error responses. `remedy` tells
what the caller can do; the documentation's table of errors contains it.
"""

from typing import ClassVar

A_RESET = "a reset"  # in a detail; each transport has its own way to ask for one
MAX_DETAIL = 1000  # characters: a problem may quote a part of the request, never all of it


class DreamserveError(Exception):
    """Base of all errors that dreamserve raises on purpose; its message is for people."""


class ProblemError(DreamserveError):
    """The response to a request is a problem (RFC 9457).

    `code` identifies the error, `status` is the HTTP status, `detail` tells what was wrong, where,
    and what would be valid. `request_id` identifies the request in the server's log.
    `retry_after_s` is the wait that the server requests, if any.
    """

    code: str = ""  # set by the leaves of the tree; `problem_of` sets unknown codes
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
    """No session has this id, or it was deleted."""

    code, status = "session_not_found", 404
    remedy = "Begin one with `POST /reset`."


class SessionExpiredError(CallerError):
    """The session was idle for longer than its time to live."""

    code, status = "session_expired", 410
    remedy = "Start over with `POST /reset`."


class SessionLostError(CallerError):
    """The stored session cannot continue: it is of another bundle, or its record is damaged."""

    code, status = "session_lost", 410
    remedy = "Start over with `POST /reset`, or load the bundle that `detail` names."


class StepConflictError(CallerError):
    """A step is out of order, or repeated with other content; or a rewind exceeds the window."""

    code, status = "step_conflict", 409
    remedy = "Do not retry; `GET /sessions/{session_id}` returns the session's step."


class DreamEndedError(CallerError):
    """The dream has ended: it cannot be stepped, sampled, rolled out or planned from."""

    code, status = "dream_ended", 409
    remedy = "Start over with `POST /reset`, or use `POST /sessions/{session_id}/rewind`."


class SnapshotRefusedError(CallerError):
    """The snapshot is damaged, of another format, or of another world's bundle."""

    code, status = "snapshot_refused", 409
    remedy = "Restore the unchanged snapshot on a server that has loaded the same bundle."


class WorldNotFoundError(CallerError):
    """No world with that name is loaded."""

    code, status = "world_not_found", 404
    remedy = "See `GET /worlds`."


class TooLargeError(CallerError):
    """The request, or the work that it asks for, exceeds a limit of the server."""

    code, status = "too_large", 413
    remedy = "Split the request; `detail` gives the limit."


class OverloadedError(CallerError):
    """No free session or memory for kept steps, or too many requests or too much work wait."""

    code, status = "overloaded", 429
    retry_after_s: float | None = 1.0  # of a full server: until the next session may expire
    remedy = "Try again after `Retry-After` seconds, or end sessions with `POST /delete/idle`."


class RateLimitedError(CallerError):
    """The API key, or the address, sends more requests than it may."""

    code, status = "rate_limited", 429
    retry_after_s: float | None = 1.0
    remedy = "Try again after `Retry-After` seconds; send fewer requests, or batches."


class UnauthorizedError(CallerError):
    """The request has no API key, or one that is not valid."""

    code, status = "unauthorized", 401
    remedy = "Send `Authorization: Bearer KEY` with a valid key."
    key_was_sent = False  # whether the request had a key, which is not valid


class ForbiddenError(CallerError):
    """The API key may not use this verb."""

    code, status = "forbidden", 403
    remedy = "Use an API key with `admin = true`."


class BadRequestError(CallerError):
    """The request is not valid HTTP."""

    code, status = "bad_request", 400
    remedy = "Correct the client."


class ForbiddenOriginError(CallerError):
    """A web page of another origin sent the request, or it names another Host."""

    code, status = "forbidden_origin", 403
    remedy = "List it in `DREAMSERVE_ALLOWED_ORIGINS`, or the host in `DREAMSERVE_ALLOWED_HOSTS`."


class PathNotFoundError(CallerError):
    """The path does not exist."""

    code, status = "not_found", 404
    remedy = "See `/docs`."


class MethodNotAllowedError(CallerError):
    """The path does not support this method."""

    code, status = "method_not_allowed", 405
    remedy = "See `/docs`; the header `Allow` lists the methods."
    allowed = ""  # methods, as in the header


class RequestTimeoutError(CallerError):
    """The request did not arrive completely in time."""

    code, status = "request_timeout", 408
    remedy = "Send the request without long pauses."


class DeadlinePassedError(CallerError):
    """The request's own timeout passed before its work was done; it was dropped."""

    code, status = "deadline_passed", 408
    remedy = "Ask for less, or allow more time by `x-request-timeout` (`timeout_s` on `/stream`)."


class HeadersTooLargeError(CallerError):
    """The request line and headers exceed the server's limit."""

    code, status = "headers_too_large", 431
    remedy = "Send fewer or shorter headers."


class UnsupportedMediaTypeError(CallerError):
    """The body's media type is missing or not supported, or the body is compressed."""

    code, status = "unsupported_media_type", 415
    remedy = "Send `application/json` or `application/msgpack`, uncompressed."


class ServerError(ProblemError):
    """The server is at fault; the session keeps its last valid state."""


class DreamNotFiniteError(ServerError):
    """The world computed NaN or infinity; the step was not taken."""

    code, status = "dream_not_finite", 500
    remedy = "Try another action, or `POST /reset`."


class EngineFailedError(ServerError):
    """The batch could not be computed; the step was not taken."""

    code, status = "engine_failed", 500
    remedy = "Try again; the server's log has the cause."


class InternalError(ServerError):
    """An unexpected error."""

    code, status = "internal_error", 500
    remedy = "Report it with its `request_id`; the server's log has the details."


class UnsupportedHttpError(ServerError):
    """The request uses a part of HTTP that this server does not support."""

    code, status = "not_implemented", 501
    remedy = "Send the body with Content-Length or chunked; do not use the server as a proxy."


class NotReadyError(ServerError):
    """The engine is warming up, failed to start, or has just hung; nothing was done."""

    code, status = "not_ready", 503
    retry_after_s = 1.0
    remedy = "Try again after `Retry-After` seconds."


class SessionMovedError(ServerError):
    """Another replica has taken the session over; this one took no step."""

    code, status = "session_moved", 503
    retry_after_s = 0.1
    remedy = "Try again after `Retry-After` seconds; any replica can continue the session."


class StoreUnavailableError(ServerError):
    """The session store did not confirm in time that the request was recorded."""

    code, status = "store_unavailable", 503
    retry_after_s = 1.0
    remedy = "Try again after `Retry-After` seconds; only a numbered step is safe to send again."


class DrainingError(ServerError):
    """The server is shutting down and takes no new sessions."""

    code, status = "draining", 503
    retry_after_s = 0.1  # of another route, a load balancer sends the next attempt elsewhere
    remedy = "Try again after `Retry-After` seconds; behind a load balancer, with a new id."


def error_classes(kind: type[ProblemError] = ProblemError) -> list[type[ProblemError]]:
    """Return all error classes with a code, in the order of the tree."""
    own = [kind] if kind.code else []
    return [*own, *(found for child in kind.__subclasses__() for found in error_classes(child))]


def problem_of(code: str, status: int, detail: str) -> ProblemError:
    """Return the error for a problem response.

    An unknown code gives a CallerError or ServerError, by its status, with that code.
    """
    kind = _BY_CODE.get(code) or (ServerError if status >= 500 else CallerError)
    error = kind(detail)
    error.code, error.status, error.retry_after_s = code, status, None
    return error


_BY_CODE = {kind.code: kind for kind in error_classes()}
