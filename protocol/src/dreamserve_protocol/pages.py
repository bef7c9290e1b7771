"""Pages about the server itself, which GET answers, and the form of a problem."""

from dataclasses import dataclass
from typing import Annotated, Literal

from dreamserve_protocol.errors import DrainingError, NotReadyError, ProblemError
from dreamserve_protocol.markers import Doc, Message


@dataclass(frozen=True, slots=True)
class Health(Message):
    """The server is alive, or ready."""

    status: Literal["live", "ready"]


@dataclass(frozen=True, slots=True)
class Index(Message):
    """Where things are."""

    name: str
    version: str
    docs: str
    openapi: str
    worlds: str
    ready: str


@dataclass(frozen=True, slots=True)
class Problem(Message):
    """RFC 9457 problem details."""

    type: Literal["about:blank"]
    title: Annotated[str, Doc("The status's phrase.")]
    status: int
    code: Annotated[str, Doc("Tells errors apart; docs/errors.md lists the codes.")]
    detail: Annotated[str, Doc("What was wrong, where, and what would be right.")]
    request_id: Annotated[str, Doc("As in the header x-request-id, and in the log.")]


@dataclass(frozen=True, slots=True)
class Page:
    """A path that answers GET; no session and no world is in it."""

    path: str
    result: type[Message]
    summary: str
    errors: tuple[type[ProblemError], ...] = ()


PAGES = (
    Page("/", Index, "Tell where things are."),
    Page("/livez", Health, "Answer while the process lives."),
    Page(
        "/readyz",
        Health,
        "Answer 200 while new sessions are welcome: after warming up, and until shutting down.",
        (NotReadyError, DrainingError),
    ),
)
