"""Every call of the API as a pure value: a request of the protocol, and how to read its result.

Both clients take their methods from here. Signatures, documentation and checks are those of the
protocol's requests; nothing here does I/O.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from types import GenericAlias
from typing import Any, Generic, ParamSpec, TypeVar, cast
from urllib.parse import quote, urlencode

from dreamserve_client.codec import listed
from dreamserve_client.methods import describe
from dreamserve_protocol.batches import DeleteBatchRequest, ResetBatchRequest, StepBatchRequest
from dreamserve_protocol.branches import ForkRequest, RewindRequest
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.ids import is_valid, new_id, new_route, route_of
from dreamserve_protocol.listing import (
    AdminDeleteRequest,
    AdminSessionsRequest,
    DeleteIdleRequest,
    SessionsRequest,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.reset import ResetRequest
from dreamserve_protocol.rollout import RolloutRequest
from dreamserve_protocol.sample import SampleRequest
from dreamserve_protocol.sessions import (
    DeleteRequest,
    RestoreRequest,
    SessionRequest,
    SessionResult,
    Snapshot,
    SnapshotRequest,
)
from dreamserve_protocol.step import StepRequest
from dreamserve_protocol.verbs import BY_REQUEST, Verb
from dreamserve_protocol.wire import fields_of, read
from dreamserve_protocol.worlds import (
    LoadWorldRequest,
    UnloadWorldRequest,
    WorldRequest,
    WorldsRequest,
    WorldsResult,
    WorldSummary,
)

P = ParamSpec("P")
R = TypeVar("R")
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Call(Generic[R]):
    """A request, and a function that reads its result from the response's fields.

    That function also takes whether frames that came as PNG files are kept as their bytes.
    `ids_may_change`: the sessions that the request begins have ids, but no user has named them.
    """

    request: Request[Any]
    read: Callable[[Fields, bool], R]
    ids_may_change: bool = False

    @property
    def verb(self) -> Verb:
        """The request's row in the protocol's table of verbs."""
        return BY_REQUEST[type(self.request)]

    @property
    def path(self) -> str:
        """The path and query, percent-encoded. Raises InvalidRequestError for other values."""
        path = re.sub(r"{(\w+)}", lambda name: self._quoted(name[1]), self.verb.path)
        in_query = self.verb.query_fields
        query = {name: value for name, value in self.fields.items() if name in in_query}
        return f"{path}?{urlencode(query)}" if query else path

    @property
    def fields(self) -> dict[str, Any]:
        """The request's fields, without those that have their default."""
        kind: type = type(self.request)
        left_out = _defaults(kind)
        return {
            name: value
            for name, value in fields_of(self.request).items()
            if not _same(value, left_out.get(name, MISSING))
        }

    @property
    def body(self) -> Fields | None:
        """The fields of the HTTP body, without those that the path holds."""
        verb = self.verb
        if not verb.has_body:
            return None
        if verb.body is not None:
            return cast(Fields, getattr(self.request, verb.body))
        in_path = verb.path_fields
        return {name: value for name, value in self.fields.items() if name not in in_path}

    @property
    def routed_by(self) -> str | None:
        """What a load balancer hashes: the id of the request's session, or the route of a batch,
        which is that of its first row.

        None: an id that is none has no place in a header, and the server refuses it in the body.
        """
        session_id = getattr(self.request, "session_id", None)
        if session_id is None:
            first = next(iter(getattr(self.request, "session_ids", None) or ()), None)
            session_id = route_of(first) if isinstance(first, str) else None
        return session_id if is_valid(session_id) else None

    def with_ids(self, route: str | None = None) -> "Call[R]":
        """Return the call with ids for the sessions that it creates, if it has none.

        A request with ids can be sent again without creating more sessions, and a load balancer can
        route even the first request by the id.
        """
        request = _with_ids(self.request, route)
        return self if request is self.request else replace(self, request=request)

    def without_ids(self) -> "Call[R]":
        """Return the call without the ids of sessions that it creates, if those may change."""
        match self.request:
            case ResetRequest() if self.ids_may_change:
                return replace(self, request=replace(self.request, session_id=None))
            case ResetBatchRequest(rows=count) if self.ids_may_change:
                return replace(self, request=replace(self.request, session_ids=None, count=count))
        return self

    def with_png(self) -> "Call[R]":
        """Return the call that asks for PNG files where the result may have frames."""
        if "frame_format" not in self.request.__dataclass_fields__:
            return self
        return replace(self, request=replace(self.request, frame_format="png"))

    def _quoted(self, name: str) -> str:
        value = getattr(self.request, name)
        try:
            quoted = quote(value, safe="")
        except (TypeError, UnicodeEncodeError):
            raise InvalidRequestError(f"{name} must be a string, not {value!r}") from None
        return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


@cache
def _defaults(kind: type) -> dict[str, Any]:
    """Return the default of every field that has one."""
    made = {f.name: f.default_factory() for f in fields(kind) if f.default_factory is not MISSING}
    return made | {f.name: f.default for f in fields(kind) if f.default is not MISSING}


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)  # arrays are no defaults


def _with_ids(request: Request[Any], route: str | None) -> Request[Any]:
    """Return the request with random ids; what is created together has one route."""
    match request:
        case ResetRequest(session_id=None) | RestoreRequest(session_id=""):
            return replace(request, session_id=new_id(route))
        case ResetBatchRequest(session_ids=None):
            return replace(request, count=None, session_ids=new_ids(request.rows, route))
        case ForkRequest(session_ids=None):
            ids = new_ids(request.rows, route_of(request.session_id))
            return replace(request, count=None, session_ids=ids)
    return request


def new_ids(count: int, route: str | None = None) -> list[str]:
    """Return random ids of one route, which is random by default."""
    route = route or new_route()
    return [new_id(route) for _ in range(count)]


def _reader(kind: type[Request[R]]) -> Callable[[Fields, bool], R]:
    """Return what reads a request's result, as the table of verbs has it."""
    result = BY_REQUEST[kind].result

    def read_result(response: Fields, keep_png: bool) -> Any:
        return None if result is None else read(result, response, keep_png)

    return read_result


def call_of(request: Request[R] | Call[R]) -> Call[R]:
    """Return the call of a request; a call is one already."""
    if isinstance(request, Call):
        return request
    return Call(request, _reader(type(request)))


def _calls(kind: Callable[P, Request[R]]) -> Callable[P, Call[R]]:
    """Return what builds the call of a request, with the request's own parameters."""
    request = cast(type[Request[R]], kind)
    return _calls_read_by(kind, _reader(request), BY_REQUEST[request].result)


def _calls_read_by(
    kind: Callable[P, Request[Any]], reader: Callable[[Fields, bool], R], result: Any
) -> Callable[P, Call[R]]:
    """Return the same for a result that is not the protocol's own; `result` is its type."""

    def build(*args: P.args, **kwargs: P.kwargs) -> Call[R]:
        return Call(kind(*args, **kwargs), reader)

    return describe(build, cast(type[Request[Any]], kind), GenericAlias(Call, (result,)))


def _document(response: Fields, keep_png: bool) -> dict[str, Any]:
    return {name: listed(value) for name, value in response.items()}  # so that JSON can store it


def _worlds(response: Fields, keep_png: bool) -> list[WorldSummary]:
    return read(WorldsResult, response).worlds


reset = _calls(ResetRequest)
step = _calls(StepRequest)
reset_batch = _calls(ResetBatchRequest)
step_batch = _calls(StepBatchRequest)
delete_batch = _calls(DeleteBatchRequest)
sample = _calls(SampleRequest)
rollout = _calls(RolloutRequest)
plan = _calls(PlanRequest)
fork = _calls(ForkRequest)
rewind = _calls(RewindRequest)
session = _calls(SessionRequest)
delete = _calls(DeleteRequest)
sessions = _calls(SessionsRequest)
delete_idle = _calls(DeleteIdleRequest)
admin_sessions = _calls(AdminSessionsRequest)
admin_delete = _calls(AdminDeleteRequest)
admin_load = _calls(LoadWorldRequest)
admin_unload = _calls(UnloadWorldRequest)
world = _calls(WorldRequest)
worlds = _calls_read_by(WorldsRequest, _worlds, list[WorldSummary])
snapshot = _calls_read_by(SnapshotRequest, _document, dict[str, Any])


def restore(snapshot: Fields, session_id: str | None = None) -> Call[SessionResult]:
    """Restore a session from a snapshot.

    snapshot: The result of `snapshot`, also after storing it as JSON or msgpack.
    session_id: A live session with that id is replaced. Default: a new id.
    """
    document = cast(Snapshot, snapshot)  # it is passed on as it is, fields of later versions too
    return call_of(RestoreRequest(session_id or "", document))
