"""Pages about the server itself, which GET answers, and the form of a problem."""

from dataclasses import dataclass
from typing import Annotated, Literal

from dreamserve_protocol.errors import DrainingError, NotReadyError, ProblemError
from dreamserve_protocol.markers import Doc, Message


@dataclass(frozen=True, slots=True)
class Health(Message):
    """The server is alive, or ready."""

    status: Annotated[Literal["live", "ready"], Doc("What it is.")]


@dataclass(frozen=True, slots=True)
class Index(Message):
    """Where things are."""

    name: Annotated[str, Doc("Always dreamserve.")]
    version: Annotated[str, Doc("Version of the server.")]
    docs: Annotated[str, Doc("Path of the documentation.")]
    openapi: Annotated[str, Doc("Path of the OpenAPI document.")]
    worlds: Annotated[str, Doc("Path that lists the worlds.")]
    ready: Annotated[str, Doc("Path that answers 200 once the server is ready.")]


@dataclass(frozen=True, slots=True)
class Problem(Message):
    """RFC 9457 problem details."""

    type: Annotated[Literal["about:blank"], Doc("`code` tells errors apart.")]
    title: Annotated[str, Doc("The status's phrase.")]
    status: Annotated[int, Doc("The status, as HTTP has it.")]
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
