"""Dreams that go on in other ways: forks, rewinding, snapshots."""

from secrets import token_hex
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dreamserve.api.arrays import Action, Frame, Latent, Tensor
from dreamserve.api.schemas.base import Body, Seed, SessionId, Temperature, wrong
from dreamserve.engine import types as engine
from dreamserve.engine.sessions.snapshots import check_format


class Fork(Body):
    """Let a dream go on in more than one way: new sessions that are where it is."""

    session_ids: list[SessionId] | None = Field(
        None, min_length=1, description="Of the forks; those that are there start over."
    )
    count: int | None = Field(
        None, ge=1, description="Without ids: how many. Default: as many as seeds, or 1."
    )
    seeds: list[Seed] | None = Field(
        None,
        min_length=1,
        description="One a fork. Default: the session's own, and with it the same luck.",
    )
    include: list[Literal["frame", "state"]] = Field(
        default_factory=list, description="Also answer the decoded frame, or the recurrent state."
    )

    @model_validator(mode="after")
    def _how_many(self) -> Self:
        if self.session_ids is not None and self.count is not None:
            raise wrong("give session_ids or count, not both")
        return self

    @property
    def rows(self) -> int:
        """How many forks it makes."""
        if self.session_ids is not None:
            return len(self.session_ids)
        return self.count or len(self.seeds or "1")

    def to_engine(self, session_id: str, known_only: bool = False) -> engine.ForkRequest:
        """Return the request as the engine takes it."""
        ids = self.session_ids or [token_hex(16) for _ in range(self.rows)]
        return engine.ForkRequest(session_id, ids, self.seeds, frozenset(self.include), known_only)


class Rewind(Body):
    """Go back to an earlier step of the session's window."""

    steps: int | None = Field(None, ge=0, description="By so many.")
    to_step: int | None = Field(
        None, ge=0, description="To that one: the same however often it is asked."
    )
    include: list[Literal["frame", "state"]] = Field(
        default_factory=list, description="Also answer the decoded frame, or the recurrent state."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.steps is None) == (self.to_step is None):
            raise wrong("give steps or to_step, one of them")
        return self

    def to_engine(self, session_id: str) -> engine.RewindRequest:
        """Return the request as the engine takes it."""
        return engine.RewindRequest(session_id, self.steps, self.to_step, frozenset(self.include))


class LastInfo(Body):
    """What the last step's answer said of its observation; all of it, or nothing."""

    surprise: float | None = None
    expected_surprise: float | None = None
    predicted_terminated: bool | None = None


class LastAnswer(Body):
    """What the last step had beyond its action, so that it is answered again the same."""

    include: list[Literal["frame", "mixture", "state"]]
    observed: Literal["frame", "latent"] | None = None
    frame_digest: str | None = None
    info: LastInfo
    frame: Frame | None = None
    mixture: dict[str, Tensor] | None = None


class Snapshot(Body):
    """A session as a document: what GET answered, unchanged."""

    format: str
    format_version: int
    world: str
    world_version: str | None = None
    step: int = Field(ge=0, le=2**53 - 1)
    seed: Seed
    temperature: Temperature
    terminated: bool
    latent: Latent
    state: dict[str, Tensor]
    rewind_window: int = Field(ge=0)
    action: Action | None = None
    reward: float
    last_answer: LastAnswer | None = None
    digest: str

    @model_validator(mode="before")
    @classmethod
    def _format_first(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Another version has other fields, and what is wrong with those is beside the point."""
        if "format" in fields and "format_version" in fields:
            check_format(fields["format"], fields["format_version"])
        return fields

    def to_engine(self) -> engine.Snapshot:
        """Return the snapshot as the engine takes it."""
        said = None
        if self.last_answer is not None:
            said = {n: value for n, value in dict(self.last_answer).items() if value is not None}
            said["info"] = self.last_answer.info.model_dump(exclude_none=True)
        return engine.Snapshot(**{**dict(self), "last_answer": said})
