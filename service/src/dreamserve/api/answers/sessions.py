"""Dreams that began or advanced."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from dreamserve.api.answers.base import Answer, Frame, Latent, Tensor, array
from dreamserve.api.arrays import BOOLEAN, INTEGER, NUMBER, Array


class ResetAnswer(Answer):
    """A dream at its step 0."""

    session_id: str
    world: str
    step: Literal[0]
    latent: Latent = Field(description="(Z,) float32.")
    seed: int
    temperature: float
    frame: Frame | None = Field(None, description="(H, W, C) uint8.")
    state: dict[str, Tensor] | None = Field(None, description="Recurrent tensors by name.")


class StepInfo(BaseModel):
    """What else there is to say of a step."""

    surprise: float | None = Field(
        None, description="Negative log-likelihood of the observation, nats per latent dimension."
    )
    expected_surprise: float | None = Field(
        None, description="What that would be had the world dreamt it, nats per latent dimension."
    )


class StepAnswer(Answer):
    """A dream after one more step."""

    session_id: str
    step: int
    latent: Latent = Field(description="(Z,) float32.")
    reward: float
    terminated: bool = Field(description="The dream has ended; only /reset goes on from here.")
    truncated: bool
    info: StepInfo
    frame: Frame | None = Field(None, description="(H, W, C) uint8.")
    mixture: dict[str, Tensor] | None = Field(
        None, description="What the world expected: weights, mu and sigma of K components."
    )
    state: dict[str, Tensor] | None = Field(None, description="Recurrent tensors by name.")


class RowError(Answer):
    """Why one row of a batch was not done; the codes are those of problems."""

    row: int
    code: str
    status: int = Field(description="What /step or /reset would have answered.")
    detail: str


class StepBatchAnswer(Answer):
    """Many dreams, each one step later, in the order asked. A row with an error holds zeros."""

    session_ids: list[str]
    steps: Annotated[Array, array(INTEGER, 1)] = Field(description="(B,) int64.")
    latents: Annotated[Array, array(NUMBER, 2)] = Field(description="(B, Z) float32.")
    rewards: Annotated[Array, array(NUMBER, 1)] = Field(description="(B,) float32.")
    terminated: Annotated[Array, array(BOOLEAN, 1)] = Field(description="(B,).")
    truncated: Annotated[Array, array(BOOLEAN, 1)] = Field(description="(B,).")
    errors: list[RowError] = Field(description="Of the rows that were not done; often empty.")


class ResetBatchAnswer(Answer):
    """Many dreams at their step 0, in the order asked. A row with an error holds zeros."""

    world: str
    session_ids: list[str]
    latents: Annotated[Array, array(NUMBER, 2)] = Field(description="(B, Z) float32.")
    seeds: Annotated[Array, array(INTEGER, 1)] = Field(description="(B,) int64.")
    temperatures: Annotated[Array, array(NUMBER, 1)] = Field(description="(B,) float32.")
    errors: list[RowError] = Field(description="Of the rows that were not done; often empty.")


class SessionAnswer(Answer):
    """What a session is."""

    session_id: str
    world: str
    step: int
    seed: int
    temperature: float
    terminated: bool
    idle_s: float = Field(description="Seconds since it was last used.")
    rewindable_to: int = Field(description="The earliest step that it can go back to.")
