"""Dreams that begin and advance, one by one or in batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dreamserve.engine.types.base import NOTHING, Float32, Include, Start, UInt8
from dreamserve.errors import WireError


@dataclass(frozen=True, slots=True, eq=False)
class ResetRequest:
    """Begin a dream. What is None, the engine chooses (and says in its answer)."""

    world: str | None = None  # None: the only world, or the first loaded
    session_id: str | None = None
    seed: int | None = None  # 0 … 2**53 - 1, so that JSON's numbers hold it
    temperature: float | None = None  # None: 1.0
    start: Start | None = None  # None: a bank entry drawn from the seed
    rewind_window: int = 0  # steps that it can be rewound by; each is kept, and costs its state
    include: Include = NOTHING


@dataclass(slots=True, eq=False)  # not frozen: that would double what one costs to make
class StepRequest:
    """Advance a dream by one action."""

    session_id: str
    action: Any  # int, or (A,) floats
    step: int | None = None  # the number this step will have; None: the next one
    observation: UInt8 | Float32 | None = None  # the real next frame (uint8) or latent (float32)
    include: Include = NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class StepBatchRequest:
    """Advance many dreams of one world, each by one action; a bad row harms no other."""

    session_id: ClassVar[None] = None  # of many

    session_ids: Sequence[str]
    actions: npt.NDArray[Any]  # (B,) integers or (B, A) numbers
    steps: npt.NDArray[np.int64] | None = None  # (B,) as StepRequest's; None: the next ones


@dataclass(frozen=True, slots=True, eq=False)
class ResetBatchRequest:
    """Begin many dreams in one world, or start them over. Columns of B rows; None as in a reset."""

    session_id: ClassVar[None] = None  # of many

    count: int  # B
    world: str | None = None
    session_ids: Sequence[str] | None = None
    seeds: npt.NDArray[np.int64] | None = None
    temperatures: npt.NDArray[np.float32] | None = None
    bank: npt.NDArray[np.int64] | None = None  # entries of the world's bank
    latents: Float32 | None = None  # (B, Z), with an empty memory; instead of the bank
    rewind_window: int = 0  # of each of them
    known_only: bool = False  # a server that shuts down begins no new sessions


@dataclass(frozen=True, slots=True, eq=False)
class SessionQuery:
    """WorldCall what a session is, or end it."""

    session_id: str
    delete: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ResetResult:
    """A dream at its step 0."""

    session_id: str
    world: str
    step: int
    latent: Float32  # (Z,)
    seed: int
    temperature: float
    frame: UInt8 | None = None  # (H, W, C)
    state: dict[str, Float32] | None = None  # recurrent tensors by name


@dataclass(slots=True, eq=False)  # not frozen, as StepRequest
class StepResult:
    """A dream after one more step."""

    session_id: str
    step: int
    latent: Float32  # (Z,), a row of its batch's
    reward: float
    terminated: bool
    truncated: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    frame: UInt8 | None = None
    mixture: dict[str, Float32] | None = None  # weights, mu, sigma of what the world expected
    state: dict[str, Float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepBatchResult:
    """Many dreams, each after one more step. A row with an error holds zeros."""

    session_ids: Sequence[str]
    steps: npt.NDArray[np.int64]  # (B,)
    latents: Float32  # (B, Z)
    rewards: Float32  # (B,)
    terminated: npt.NDArray[np.bool_]  # (B,)
    truncated: npt.NDArray[np.bool_]  # (B,)
    errors: dict[int, WireError]  # by row


@dataclass(frozen=True, slots=True, eq=False)
class ResetBatchResult:
    """Many dreams at their step 0. A row with an error holds zeros."""

    world: str
    session_ids: Sequence[str]
    latents: Float32  # (B, Z)
    seeds: npt.NDArray[np.int64]  # (B,)
    temperatures: Float32  # (B,)
    errors: dict[int, WireError]  # by row


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What a session is."""

    session_id: str
    world: str
    step: int
    seed: int
    temperature: float
    terminated: bool
    idle_s: float
    rewindable_to: int  # the earliest step that it can go back to
