"""Dreams that go on in other ways: forks, rewinding, snapshots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dreamserve.engine.types.base import NOTHING, Float32, Include, UInt8


@dataclass(frozen=True, slots=True, eq=False)
class ForkRequest:
    """Let a dream go on in more than one way: new sessions that are where it is."""

    session_id: str
    session_ids: Sequence[str]  # of the forks; those that are there start over
    seeds: Sequence[int] | None = None  # None: the session's own, so the same luck
    include: Include = NOTHING
    known_only: bool = False  # as in ResetBatchRequest


@dataclass(frozen=True, slots=True, eq=False)
class RewindRequest:
    """Go back to an earlier step of the session's window, by exactly one of the two."""

    session_id: str
    steps: int | None = None  # by so many
    to_step: int | None = None  # to that one: the same however often it is asked
    include: Include = NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class SnapshotRequest:
    """WorldCall for all that a session is."""

    session_id: str


@dataclass(frozen=True, slots=True, eq=False)
class RestoreRequest:
    """Make a session what a snapshot says; the one of that id starts over."""

    session_id: str
    snapshot: "Snapshot"


@dataclass(frozen=True, slots=True, eq=False)
class ForkResult:
    """The forks, where their dream goes on."""

    session_id: str  # what they were forked from
    world: str
    step: int
    latent: Float32  # (Z,)
    temperature: float
    terminated: bool
    session_ids: Sequence[str]
    seeds: Sequence[int]
    frame: UInt8 | None = None  # (H, W, C)
    state: dict[str, Float32] | None = None  # recurrent tensors by name


@dataclass(frozen=True, slots=True, eq=False)
class RewindResult:
    """A session after an earlier step, as if none had followed."""

    session_id: str
    world: str
    step: int
    latent: Float32  # (Z,)
    seed: int
    temperature: float
    terminated: bool
    rewindable_to: int
    frame: UInt8 | None = None  # (H, W, C)
    state: dict[str, Float32] | None = None  # recurrent tensors by name


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All that a session is, for any server with the same bundle."""

    format: str
    format_version: int
    world: str
    world_version: str | None  # of the bundle; None for a world in memory
    step: int
    seed: int
    temperature: float
    terminated: bool
    latent: Float32  # (Z,)
    state: dict[str, Float32]  # recurrent tensors by name
    rewind_window: int  # steps that it can be rewound by, from here on
    action: Any  # of the last step, an int or (A,) floats; None before the first
    reward: float  # of the last step
    last_answer: dict[str, Any] | None  # what the last step had beyond its action; None: nothing
    digest: str  # over all the rest
