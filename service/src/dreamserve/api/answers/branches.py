"""Forks, earlier steps, snapshots."""

from typing import Any, Literal

from pydantic import Field

from dreamserve.api.answers.base import Answer, Frame, Latent, Tensor


class ForkAnswer(Answer):
    """The forks, where their dream goes on."""

    session_id: str = Field(description="What they were forked from.")
    world: str
    step: int
    latent: Latent = Field(description="(Z,) float32.")
    temperature: float
    terminated: bool
    session_ids: list[str]
    seeds: list[int] = Field(description="Of each; another one is other luck from here on.")
    frame: Frame | None = Field(None, description="(H, W, C) uint8.")
    state: dict[str, Tensor] | None = Field(None, description="Recurrent tensors by name.")


class RewindAnswer(Answer):
    """A session after an earlier step, as if none had followed."""

    session_id: str
    world: str
    step: int
    latent: Latent = Field(description="(Z,) float32.")
    seed: int
    temperature: float
    terminated: bool
    rewindable_to: int = Field(description="The earliest step that it can go back to.")
    frame: Frame | None = Field(None, description="(H, W, C) uint8.")
    state: dict[str, Tensor] | None = Field(None, description="Recurrent tensors by name.")


class LastAnswer(Answer):
    """What the last step had beyond its action, so that it is answered again the same."""

    include: list[str]
    observed: Literal["frame", "latent"] | None = Field(None, description="What was seen, if any.")
    frame_digest: str | None = Field(None, description="Of an observed frame.")
    info: dict[str, float | bool]
    frame: Frame | None = Field(None, description="(H, W, C) uint8.")
    mixture: dict[str, Tensor] | None = Field(None, description="weights, mu and sigma.")


class SnapshotAnswer(Answer):
    """All that a session is."""

    format: Literal["dreamserve-snapshot"]
    format_version: Literal[1]
    world: str
    world_version: str | None = Field(None, description="Of the bundle; absent in memory.")
    step: int
    seed: int
    temperature: float
    terminated: bool
    latent: Latent = Field(description="(Z,) float32.")
    state: dict[str, Tensor] = Field(description="Recurrent tensors by name.")
    rewind_window: int = Field(description="Steps that it can be rewound by, from here on.")
    action: int | list[float] | Any | None = Field(
        None, description="Of the last step; absent before the first."
    )
    reward: float = Field(description="Of the last step.")
    last_answer: LastAnswer | None = Field(
        None, description="What the last step had beyond its action, if anything."
    )
    digest: str = Field(description="Over all the rest, however it is written.")
