"""GET paths about the server itself, and the format of a problem."""

from dataclasses import dataclass
from typing import Annotated, Literal

from dreamserve_protocol.errors import DrainingError, NotReadyError, ProblemError
from dreamserve_protocol.markers import Doc, Message


@dataclass(frozen=True, slots=True)
class Health(Message):
    """State of the server."""

    status: Annotated[Literal["live", "ready"], Doc("State of the server.")]


@dataclass(frozen=True, slots=True)
class Index(Message):
    """Paths of the server."""

    name: Annotated[str, Doc("Always dreamserve.")]
    version: Annotated[str, Doc("Version of the server.")]
    play: Annotated[str, Doc("Path of the playground.")]
    docs: Annotated[str, Doc("Path of the documentation.")]
    openapi: Annotated[str, Doc("Path of the OpenAPI document.")]
    worlds: Annotated[str, Doc("Path that lists the worlds.")]
    ready: Annotated[str, Doc("Path that returns 200 while the server is ready.")]


@dataclass(frozen=True, slots=True)
class Problem(Message):
    """RFC 9457 problem details."""

    type: Annotated[Literal["about:blank"], Doc("Always about:blank; see `code`.")]
    title: Annotated[str, Doc("Reason phrase of the HTTP status.")]
    status: Annotated[int, Doc("HTTP status.")]
    code: Annotated[str, Doc("Identifies the error; docs/errors.md lists the codes.")]
    detail: Annotated[str, Doc("What was wrong, where, and what would be valid.")]
    request_id: Annotated[str, Doc("As in the header x-request-id and in the server's log.")]
    retry_after_s: Annotated[
        float | None, Doc("Seconds until it makes sense to try again, as in Retry-After.")
    ] = None


@dataclass(frozen=True, slots=True)
class Page:
    """A GET path that involves no session and no world."""

    path: str
    result: type[Message]
    summary: str
    errors: tuple[type[ProblemError], ...] = ()


PAGES = (
    Page("/", Index, "List the paths of the server."),
    Page(
        "/livez",
        Health,
        "Return 200 while the process can serve; 503 asks for a restart.",
        (NotReadyError,),
    ),
    Page(
        "/readyz",
        Health,
        "Return 200 while new sessions are accepted: after warm-up and until shutdown.",
        (NotReadyError, DrainingError),
    ),
)
