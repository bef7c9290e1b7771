"""GET /sessions, POST /delete/idle; for administrators GET /admin/sessions, POST /admin/delete."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from dreamserve_protocol.common import AnyId, Id, StepsTaken, Whole, World, make_lists
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import Doc, Items, Message, Range, Request, Text

PAGE = 100
MAX_PAGE = 1000

Owner = Annotated[str, Text(64), Doc("Name of an API key.")]
Limit = Annotated[int, Range(1, MAX_PAGE), Doc("Maximum number of sessions in the response.")]
After = Annotated[Whole, Doc("`next` of the previous page. Default: the first page.")]
IdleAtLeast = Annotated[
    float, Range(0), Doc("Only sessions that were not used for at least so many seconds.")
]
Deleted = Annotated[int, Doc("Number of sessions that were ended.")]
Next = Annotated[int | None, Doc("`after` of the next page; absent on the last page.")]


@dataclass(frozen=True, slots=True)
class SessionSummary(Message):
    """A session in a list."""

    session_id: Id
    world: World
    step: StepsTaken
    age_s: Annotated[float, Doc("Seconds since the session was created.")]
    idle_s: Annotated[float, Doc("Seconds since it was last used.")]
    owner: Annotated[
        str | None, Doc("Name of the API key that it belongs to; only for administrators.")
    ] = None


@dataclass(frozen=True, slots=True, eq=False)
class SessionsRequest(Request["SessionsResult"]):
    """List your sessions, a page at a time; their time to live is not renewed."""

    limit: Limit = PAGE
    after: After = 0
    idle_s: IdleAtLeast = 0.0


@dataclass(frozen=True, slots=True)
class SessionsResult(Message):
    """A page of your sessions."""

    total: Annotated[int, Doc("Number of your sessions, on all pages.")]
    sessions: Annotated[list[SessionSummary], Doc("The sessions of this page.")]
    quota: Annotated[int | None, Doc("Maximum number of your sessions, if any.")] = None
    next: Next = None


@dataclass(frozen=True, slots=True, eq=False)
class DeleteIdleRequest(Request["DeleteIdleResult"]):
    """End your sessions that were not used for some time."""

    idle_s: Annotated[float, Range(0), Doc("Seconds without a use; 0 ends all of your sessions.")]


@dataclass(frozen=True, slots=True)
class DeleteIdleResult(Message):
    """How many sessions were ended."""

    deleted: Deleted


@dataclass(frozen=True, slots=True, eq=False)
class AdminSessionsRequest(Request["AdminSessionsResult"]):
    """List the sessions of every API key, a page at a time; needs an administrator's key."""

    limit: Limit = PAGE
    after: After = 0
    idle_s: IdleAtLeast = 0.0
    owner: Annotated[Owner | None, Doc("Only sessions of the API key with this name.")] = None


@dataclass(frozen=True, slots=True)
class OwnerSummary(Message):
    """The sessions of one API key."""

    owner: Annotated[str, Doc("Name of the API key.")]
    sessions: Annotated[int, Doc("Number of its sessions.")]


@dataclass(frozen=True, slots=True)
class AdminSessionsResult(Message):
    """A page of the server's sessions."""

    total: Annotated[int, Doc("Number of all sessions.")]
    capacity: Annotated[int, Doc("Maximum number of sessions.")]
    owners: Annotated[list[OwnerSummary], Doc("Sessions by API key, the most first.")]
    sessions: Annotated[list[SessionSummary], Doc("The sessions of this page.")]
    next: Next = None


@dataclass(frozen=True, slots=True, eq=False)
class AdminDeleteRequest(Request["AdminDeleteResult"]):
    """End sessions of any API key, those that match all fields; needs an administrator's key."""

    owner: Annotated[Owner | None, Doc("Only sessions of the API key with this name.")] = None
    session_ids: Annotated[
        Annotated[Sequence[AnyId], Items(1)] | None,
        Doc("Only sessions with these ids; needs `owner`, because ids are an owner's own."),
    ] = None
    idle_s: Annotated[
        Annotated[float, Range(0)] | None,
        Doc("Only sessions that were not used for at least so many seconds."),
    ] = None

    def __post_init__(self) -> None:
        make_lists(self, "session_ids")
        if self.owner is None and self.session_ids is not None:
            raise InvalidRequestError("session_ids need the owner that they belong to")
        if self.owner is None and self.idle_s is None:
            raise InvalidRequestError("give owner or idle_s; idle_s 0 ends all sessions")


@dataclass(frozen=True, slots=True)
class AdminDeleteResult(Message):
    """How many sessions were ended; sessions that do not exist are not counted."""

    deleted: Deleted
