"""Dreams that begin and advance, one by one or in batches."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dreamserve.api.arrays import (
    Action,
    ActionRows,
    IntegerRows,
    LatentRows,
    NumberRows,
    Observation,
)
from dreamserve.api.schemas.base import (
    SESSION_ID_LENGTH,
    Body,
    Seed,
    SessionId,
    Start,
    Temperature,
    wrong,
)
from dreamserve.engine import types as engine


class Reset(Body):
    """Begin a dream, or start one over."""

    world: str | None = Field(None, description="Name of a loaded world. Default: the first.")
    session_id: SessionId | None = Field(
        None, description="Given, that session starts over or gets that id; else a new one is made."
    )
    seed: Seed | None = Field(None, description="Default: drawn, and told in the answer.")
    temperature: Temperature | None = Field(None, description="Default: 1.")
    start: Start | None = Field(None, description="Default: a bank entry drawn from the seed.")
    rewind_window: int = Field(
        0, ge=0, description="Steps that the session can be rewound by; each is kept in memory."
    )
    include: list[Literal["frame", "state"]] = Field(
        default_factory=list, description="Also answer the decoded frame, or the recurrent state."
    )

    def to_engine(self) -> engine.ResetRequest:
        """Return the request as the engine takes it."""
        return engine.ResetRequest(
            world=self.world,
            session_id=self.session_id,
            seed=self.seed,
            temperature=self.temperature,
            start=None if self.start is None else self.start.to_engine(),
            rewind_window=self.rewind_window,
            include=frozenset(self.include) if self.include else engine.NOTHING,
        )


class Step(Body):
    """Advance a dream by one action."""

    session_id: SessionId
    action: Action = Field(
        description="An integer in a Discrete world, A numbers within the bounds in a Box world."
    )
    step: int | None = Field(
        None,
        ge=1,
        le=2**53 - 1,
        description="The number this step will have: the last answered + 1. The last one, sent"
        " again with the same content, gets the same answer; anything else is a 409.",
    )
    observation: Observation | None = Field(
        None,
        description="What really came next: a frame (H, W, C) uint8 or a latent (Z,) float32. The"
        " dream is corrected to it, and `info` says how surprised it was.",
    )
    include: list[Literal["frame", "mixture", "state"]] = Field(
        default_factory=list,
        description="Also answer the decoded frame, what was expected, the recurrent state.",
    )

    def to_engine(self) -> engine.StepRequest:
        """Return the request as the engine takes it."""
        return engine.StepRequest(
            session_id=self.session_id,
            action=self.action,
            step=self.step,
            observation=self.observation,
            include=frozenset(self.include) if self.include else engine.NOTHING,
        )


class StepBatch(Body):
    """Advance many dreams of one world, each by one action. Columns of B rows."""

    session_ids: list[Annotated[str, Field(max_length=SESSION_ID_LENGTH)]] = Field(
        min_length=1, description="B different sessions of one world."
    )
    actions: ActionRows = Field(
        description="(B,) integers in a Discrete world, (B, A) numbers in a Box world."
    )
    steps: IntegerRows | None = Field(
        None, description="(B,) the number that each step will have, as `step` in /step."
    )

    def to_engine(self) -> engine.StepBatchRequest:
        """Return the request as the engine takes it."""
        return engine.StepBatchRequest(self.session_ids, self.actions, self.steps)


class ResetBatch(Body):
    """Begin many dreams in one world, or start them over. Columns of B rows."""

    world: str | None = Field(None, description="Name of a loaded world. Default: the first.")
    session_ids: list[SessionId] | None = Field(
        None, min_length=1, description="B different ids, as `session_id` in /reset."
    )
    count: int | None = Field(None, ge=1, description="B, where no ids are given: new ones.")
    seeds: IntegerRows | None = Field(None, description="(B,) Default: drawn.")
    temperatures: NumberRows | None = Field(None, description="(B,) Default: 1.")
    bank: IntegerRows | None = Field(
        None, description="(B,) entries of the bank. Default: drawn from the seeds."
    )
    latents: LatentRows | None = Field(
        None, description="(B, Z) instead of the bank; the memory starts empty."
    )
    rewind_window: int = Field(0, ge=0, description="Of each of them, as in /reset.")

    @model_validator(mode="after")
    def _how_many(self) -> Self:
        if (self.session_ids is None) == (self.count is None):
            raise wrong("give session_ids or count, one of them")
        return self

    @property
    def rows(self) -> int:
        """How many dreams it begins."""
        return len(self.session_ids) if self.session_ids is not None else self.count or 0

    def to_engine(self, known_only: bool = False) -> engine.ResetBatchRequest:
        """Return the request as the engine takes it."""
        return engine.ResetBatchRequest(
            count=self.rows,
            world=self.world,
            session_ids=self.session_ids,
            seeds=self.seeds,
            temperatures=self.temperatures,
            bank=self.bank,
            latents=self.latents,
            rewind_window=self.rewind_window,
            known_only=known_only,
        )
