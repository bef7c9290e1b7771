"""Everything that can go wrong, as one tree. Each leaf has a code and an HTTP status.

DreamserveError
├── CallerError                     4xx: the request is at fault and nothing changed
│   ├── InvalidRequestError         invalid_request    422
│   ├── InvalidActionError          invalid_action     422
│   ├── NotFiniteInputError         not_finite         422
│   ├── SessionNotFoundError        session_not_found  404
│   ├── SessionExpiredError         session_expired    410
│   ├── StepConflictError           step_conflict      409
│   ├── SnapshotRefusedError        snapshot_refused   409
│   ├── WorldNotFoundError          world_not_found    404
│   ├── TooLargeError               too_large          413
│   └── OverloadedError             overloaded         429, Retry-After
├── ServerError                     5xx: ours, and the session keeps its last good state
│   ├── DreamNotFiniteError         not_finite         500
│   ├── EngineFailedError           engine_failed      500
│   └── DrainingError               draining           503, Retry-After
├── BundleError                     a bundle that must not be served; refused at loading
├── BackendError                    the backend or device asked for is not on this machine
└── SettingsError                   a setting is unknown or makes no sense; refused at start-up
"""

from typing import ClassVar


class DreamserveError(Exception):
    """Base of all errors that dreamserve raises on purpose; its message is for people."""


class _WireError(DreamserveError):
    code: ClassVar[str]
    status: ClassVar[int]
    retry_after_s: float | None = None

    @property
    def detail(self) -> str:
        """What was wrong, where, and what would be right."""
        return str(self)


class CallerError(_WireError):
    """The request is at fault; nothing changed."""


class InvalidRequestError(CallerError):
    """A field is missing, unknown, or of the wrong type, shape or range."""

    code, status = "invalid_request", 422


class InvalidActionError(CallerError):
    """The action is not in the world's action space."""

    code, status = "invalid_action", 422


class NotFiniteInputError(CallerError):
    """The request holds NaN or infinity."""

    code, status = "not_finite", 422


class SessionNotFoundError(CallerError):
    """No such session, or not this caller's."""

    code, status = "session_not_found", 404


class SessionExpiredError(CallerError):
    """The session was idle for longer than its time to live."""

    code, status = "session_expired", 410


class StepConflictError(CallerError):
    """The step is out of order, repeated with other content, or the dream has ended."""

    code, status = "step_conflict", 409


class SnapshotRefusedError(CallerError):
    """The snapshot is damaged, of another format, or of another world's bundle."""

    code, status = "snapshot_refused", 409


class WorldNotFoundError(CallerError):
    """No world of that name is loaded."""

    code, status = "world_not_found", 404


class TooLargeError(CallerError):
    """The body, or the work it asks for, is over the server's bound."""

    code, status = "too_large", 413


class OverloadedError(CallerError):
    """The server is full; try again after `retry_after_s` seconds."""

    code, status = "overloaded", 429
    retry_after_s = 1.0


class ServerError(_WireError):
    """The server is at fault; the session keeps its last good state."""


class DreamNotFiniteError(ServerError):
    """The world answered this row with NaN or infinity; the step was not taken."""

    code, status = "not_finite", 500


class EngineFailedError(ServerError):
    """The batch could not be computed; the step was not taken."""

    code, status = "engine_failed", 500


class DrainingError(ServerError):
    """The server is shutting down; try again elsewhere after `retry_after_s` seconds."""

    code, status = "draining", 503
    retry_after_s = 1.0


WireError = CallerError | ServerError  # what can be answered


class BundleError(DreamserveError):
    """The bundle is corrupt, incomplete or contradicts itself; one line says where."""


class BackendError(DreamserveError):
    """The backend or device asked for is not on this machine; one line says what is missing."""


class SettingsError(DreamserveError):
    """A setting is unknown or makes no sense; one line says which."""
