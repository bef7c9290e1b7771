"""The table of verbs: requests, results, errors, and the HTTP method and path of each."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from dreamserve_protocol import errors as e
from dreamserve_protocol.batches import (
    DeleteBatchRequest,
    DeleteBatchResult,
    ResetBatchRequest,
    ResetBatchResult,
    StepBatchRequest,
    StepBatchResult,
)
from dreamserve_protocol.branches import ForkRequest, ForkResult, RewindRequest, RewindResult
from dreamserve_protocol.listing import (
    AdminDeleteRequest,
    AdminDeleteResult,
    AdminSessionsRequest,
    AdminSessionsResult,
    DeleteIdleRequest,
    DeleteIdleResult,
    SessionsRequest,
    SessionsResult,
)
from dreamserve_protocol.markers import Message, Request
from dreamserve_protocol.plan import PlanRequest, PlanResult
from dreamserve_protocol.reset import ResetRequest, ResetResult
from dreamserve_protocol.rollout import RolloutRequest, RolloutResult
from dreamserve_protocol.sample import SampleRequest, SampleResult
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    SessionResult,
    Snapshot,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest, StepResult
from dreamserve_protocol.worlds import (
    LoadWorldRequest,
    UnloadWorldRequest,
    WorldRequest,
    WorldResult,
    WorldsRequest,
    WorldsResult,
)

Errors = tuple[type[e.ProblemError], ...]

# Errors of every request: invalid, without a key, overload, late, engine failure, shutdown.
_ANY: Errors = (
    e.InvalidRequestError,
    e.UnauthorizedError,
    e.OverloadedError,
    e.RateLimitedError,
    e.DeadlinePassedError,
    e.EngineFailedError,
    e.DrainingError,
)
_BODY: Errors = (e.NotFiniteInputError, e.TooLargeError, e.UnsupportedMediaTypeError)
_OF_SESSION: Errors = (e.SessionNotFoundError, e.SessionExpiredError, e.SessionLostError)
_OF_STORE: Errors = (e.SessionMovedError, e.StoreUnavailableError)  # of a server with a store
_DREAMING: Errors = (e.InvalidActionError, e.DreamNotFiniteError)


@dataclass(frozen=True, slots=True)
class Verb:
    """One row: a request, its result, and its HTTP method and path."""

    name: str  # of the verb on the stream and of the SDK's method
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str  # {names} are fields of the request
    request: type[Request[Any]]
    result: type[Message] | None
    errors: Errors  # in addition to the common ones
    body: str | None = None  # the field that is the whole HTTP body, if any

    @property
    def summary(self) -> str:
        """First line of the request's docstring."""
        return (self.request.__doc__ or "").partition("\n")[0]

    @property
    def has_body(self) -> bool:
        """Whether the request has a body."""
        return self.method in ("POST", "PUT")

    @property
    def path_fields(self) -> tuple[str, ...]:
        """Names of the fields in the path."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    @property
    def is_admin(self) -> bool:
        """Whether it needs an administrator's API key."""
        return self.path.startswith(_ADMIN)

    @property
    def query_fields(self) -> tuple[str, ...]:
        """Names of the fields in the query string: those of a GET that are not in the path."""
        names = self.request.__dataclass_fields__ if self.method == "GET" else ()
        return tuple(name for name in names if name not in self.path_fields)

    @property
    def of_session(self) -> bool:
        """Whether it has a `session_id`, which x-session-id may then carry."""
        return "session_id" in self.request.__dataclass_fields__

    @property
    def of_rows(self) -> bool:
        """Whether it has many sessions and no single one; x-session-id may carry their route."""
        return not self.of_session and "session_ids" in self.request.__dataclass_fields__

    @property
    def own_errors(self) -> Errors:
        """The errors that not every verb may return: of sessions, their store, and what it does."""
        begins = self.name in ("reset", "restore")
        about = _OF_SESSION if self.of_session and not begins else ()
        stored = _OF_STORE if self.of_session or self.of_rows else ()
        return tuple(dict.fromkeys((*about, *stored, *self.errors)))

    @property
    def all_errors(self) -> Errors:
        """All errors that it may return."""
        numbers = (e.NotFiniteInputError,) if self.query_fields else ()
        body = _BODY if self.has_body else numbers
        admin = (e.ForbiddenError,) if self.is_admin else ()
        return tuple(dict.fromkeys((*_ANY, *admin, *body, *self.own_errors)))


_STEPPING: Errors = (*_DREAMING, e.StepConflictError, e.DreamEndedError)
_NO_WORLD: Errors = (e.WorldNotFoundError,)
_ANYWHERE: Errors = (*_DREAMING, e.WorldNotFoundError, e.DreamEndedError)
_PLANNING: Errors = (e.DreamNotFiniteError, e.DreamEndedError)
_GOING_BACK: Errors = (e.DreamNotFiniteError, e.StepConflictError)
_RESTORING: Errors = (e.InvalidActionError, e.SnapshotRefusedError, e.WorldNotFoundError)
_ID = "/sessions/{session_id}"
_ADMIN, _ALL_SESSIONS = "/admin/", AdminSessionsResult
_SNAPSHOT = f"{_ID}/snapshot"

VERBS: tuple[Verb, ...] = (
    Verb("step", "POST", "/step", StepRequest, StepResult, _STEPPING),
    Verb("reset", "POST", "/reset", ResetRequest, ResetResult, (*_DREAMING, *_NO_WORLD)),
    Verb("step_batch", "POST", "/step/batch", StepBatchRequest, StepBatchResult, _DREAMING),
    Verb("reset_batch", "POST", "/reset/batch", ResetBatchRequest, ResetBatchResult, _NO_WORLD),
    Verb("delete_batch", "POST", "/delete/batch", DeleteBatchRequest, DeleteBatchResult, ()),
    Verb("sample", "POST", "/sample", SampleRequest, SampleResult, _ANYWHERE),
    Verb("rollout", "POST", "/rollout", RolloutRequest, RolloutResult, _ANYWHERE),
    Verb("plan", "POST", "/plan", PlanRequest, PlanResult, _PLANNING),
    Verb("fork", "POST", f"{_ID}/fork", ForkRequest, ForkResult, (e.DreamNotFiniteError,)),
    Verb("rewind", "POST", f"{_ID}/rewind", RewindRequest, RewindResult, _GOING_BACK),
    Verb("snapshot", "GET", _SNAPSHOT, SnapshotRequest, Snapshot, ()),
    Verb("restore", "PUT", _SNAPSHOT, RestoreRequest, SessionResult, _RESTORING, "snapshot"),
    Verb("session", "GET", _ID, SessionRequest, SessionResult, ()),
    Verb("delete", "DELETE", _ID, DeleteRequest, None, ()),
    Verb("sessions", "GET", "/sessions", SessionsRequest, SessionsResult, ()),
    Verb("delete_idle", "POST", "/delete/idle", DeleteIdleRequest, DeleteIdleResult, ()),
    Verb("admin_sessions", "GET", f"{_ADMIN}sessions", AdminSessionsRequest, _ALL_SESSIONS, ()),
    Verb("admin_delete", "POST", f"{_ADMIN}delete", AdminDeleteRequest, AdminDeleteResult, ()),
    Verb("admin_load", "POST", f"{_ADMIN}worlds", LoadWorldRequest, WorldResult, ()),
    Verb("admin_unload", "DELETE", f"{_ADMIN}worlds/{{name}}", UnloadWorldRequest, None, _NO_WORLD),
    Verb("worlds", "GET", "/worlds", WorldsRequest, WorldsResult, ()),
    Verb("world", "GET", "/worlds/{name}", WorldRequest, WorldResult, _NO_WORLD),
)  # fmt: skip
ADMIN_REQUESTS = frozenset(verb.request for verb in VERBS if verb.is_admin)
BY_NAME: dict[str, Verb] = {verb.name: verb for verb in VERBS}
BY_REQUEST: dict[type[Request[Any]], Verb] = {verb.request: verb for verb in VERBS}
