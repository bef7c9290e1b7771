"""What the bodies have in common: names, seeds, temperatures, and where a dream begins."""

import re
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from dreamserve.api.arrays import Actions, Frames, Latent
from dreamserve.engine import types as engine
from dreamserve.errors import InvalidRequestError

SESSION_ID_LENGTH = 128
SessionId = Annotated[
    str,
    Field(
        pattern=rf"^[A-Za-z0-9_-]{{1,{SESSION_ID_LENGTH}}}$",
        description=f"1 to {SESSION_ID_LENGTH} characters of A-Z, a-z, 0-9, `_` and `-`.",
    ),
]


def check_session_id(session_id: str) -> None:
    """Raise InvalidRequestError for what could not be a session's id."""
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{SESSION_ID_LENGTH}}}", session_id):
        raise InvalidRequestError(
            f"a session's id is 1 to {SESSION_ID_LENGTH} characters of A-Z, a-z, 0-9, _ and -"
        )


Seed = Annotated[
    int,
    Field(ge=0, le=2**53 - 1, description="0 to 2^53 - 1. The same seed dreams the same dream."),
]
Temperature = Annotated[
    float,
    Field(
        ge=0,
        le=1000,
        description="Spread of what may happen next: 0 is the most likely only, 1 as learnt.",
    ),
]


class Body(BaseModel):
    """A request body."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True
    )


def wrong(message: str) -> PydanticCustomError:
    """Return what a validator raises where fields contradict each other."""
    return PydanticCustomError("contradiction", "{message}", {"message": message})


class Start(Body):
    """Where a dream begins: exactly one of a bank entry, a latent, or real frames."""

    bank: int | None = Field(None, ge=0, description="Index into the world's real starting points.")
    latent: Latent | None = Field(None, description="(Z,) float32; the memory starts empty.")
    frames: Frames | None = Field(
        None,
        description="(F, H, W, C) uint8, the camera's shape or the model's. The dream starts at"
        " the last one, its memory burnt in on those before.",
    )
    actions: Actions | None = Field(
        None, description="The F - 1 actions between the frames: (F-1,) or (F-1, A)."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in ("bank", "latent", "frames") if getattr(self, name) is not None]
        if len(given) != 1:
            raise wrong("give exactly one of bank, latent, frames")
        between = 0 if self.actions is None else len(self.actions)
        if self.frames is None and self.actions is not None:
            raise wrong("actions go with frames")
        if self.frames is not None and between != len(self.frames) - 1:
            count = len(self.frames)
            raise wrong(f"{count} frames need {count - 1} actions between them, not {between}")
        return self

    def to_engine(self) -> engine.Start:
        """Return the start as the engine takes it."""
        if self.bank is not None:
            return engine.BankStart(self.bank)
        if self.latent is not None:
            return engine.LatentStart(self.latent)
        assert self.frames is not None  # exactly one is given
        actions = np.empty(0, np.int64) if self.actions is None else self.actions
        return engine.FramesStart(self.frames, actions)
