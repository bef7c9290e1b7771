"""The server and its worlds, and what went wrong."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from dreamserve.api.answers.base import Answer
from dreamserve.manifest import ActionSpace


class WorldSummary(Answer):
    """What is worth knowing of a world before dreaming in it."""

    name: str
    version: str | None = Field(description="Hash of the bundle's content; null in memory.")
    backend: str
    action_space: ActionSpace
    action_names: list[str]
    latent_size: int
    frame_shape: list[int] = Field(description="H, W, C of the decoded frame.")
    quality: dict[str, Any] = Field(description="How good it is, as measured at export.")


class WorldAnswer(WorldSummary):
    """All there is to know of a world."""

    manifest: dict[str, Any] = Field(description="The bundle's manifest.")


class WorldsAnswer(Answer):
    """The worlds that are loaded; the first is the default."""

    worlds: list[WorldSummary]


class Health(Answer):
    """The server is alive, or ready."""

    status: Literal["live", "ready"]


class Index(Answer):
    """Where things are."""

    name: str
    version: str
    docs: str
    openapi: str
    worlds: str
    ready: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: Literal["about:blank"]
    title: str = Field(description="The status's phrase.")
    status: int
    code: str = Field(description="Tells errors apart; docs/errors.md lists the codes.")
    detail: str = Field(description="What was wrong, where, and what would be right.")
    request_id: str = Field(description="As in the header x-request-id, and in the log.")
