"""GET and DELETE /sessions/{session_id}, GET and PUT its snapshot."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from dreamserve_protocol.arrays import Array, Float32
from dreamserve_protocol.common import (
    HasEnded,
    Id,
    OneAction,
    OwnSeed,
    OwnTemperature,
    Seed,
    SessionId,
    StepsTaken,
    Temperature,
    Whole,
    World,
)
from dreamserve_protocol.errors import SnapshotRefusedError
from dreamserve_protocol.markers import Doc, Message, Request
from dreamserve_protocol.reset import FrameArray, LatentArray
from dreamserve_protocol.step import StepInclude, StepInfo

FORMAT, FORMAT_VERSION = "dreamserve-snapshot", 1
Tensors = dict[str, Annotated[Float32, Array("float32 *")]]


@dataclass(frozen=True, slots=True, eq=False)
class SessionRequest(Request["SessionResult"]):
    """Tell what a session is; its time to live is not renewed."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class SessionResult(Message):
    """What a session is."""

    session_id: Id
    world: World
    step: StepsTaken
    seed: OwnSeed
    temperature: OwnTemperature
    terminated: HasEnded
    idle_s: Annotated[float, Doc("Seconds since it was last used.")]
    rewindable_to: Annotated[int, Doc("The earliest step that it can go back to.")]


@dataclass(frozen=True, slots=True, eq=False)
class DeleteRequest(Request[None]):
    """End a session and free its slot."""

    session_id: SessionId


@dataclass(frozen=True, slots=True, eq=False)
class LastStep(Message):
    """What the last step had beyond its action, so that it is answered again the same."""

    include: Annotated[list[StepInclude], Doc("What the step was asked to include.")]
    info: StepInfo
    observed: Annotated[Literal["frame", "latent"] | None, Doc("What was observed, if any.")] = None
    frame_digest: Annotated[str | None, Doc("Of an observed frame, hex.")] = None
    frame: Annotated[FrameArray | None, Doc("If it was included.")] = None
    mixture: Annotated[Tensors | None, Doc("If it was included.")] = None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Message):
    """All that a session is, for any server with the same bundle: keep it as it is."""

    format: Annotated[str, Doc("Name of the format.")]
    format_version: Annotated[int, Doc("Version of the format.")]
    world: World
    step: Annotated[Whole, Doc("Steps that the session has taken.")]
    seed: Annotated[Seed, Doc("Seed of the session's noise.")]
    temperature: Annotated[Temperature, Doc("Temperature of the dream.")]
    terminated: HasEnded
    latent: LatentArray
    state: Annotated[Tensors, Doc("Recurrent tensors by name.")]
    rewind_window: Annotated[Whole, Doc("Steps that it can be rewound by, from here on.")]
    reward: Annotated[float, Doc("Of the last step.")]
    digest: Annotated[str, Doc("Over all the rest, however it is written.")]
    world_version: Annotated[str | None, Doc("Of the bundle; absent for a world in memory.")] = None
    action: Annotated[OneAction | None, Doc("Of the last step; absent before the first.")] = None
    last_step: Annotated[
        LastStep | None, Doc("Where the last step had an observation or an include.")
    ] = None


class _FormatFirst:
    """Look at the format first: of another one it does not matter what else is wrong."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(_format_first, handler(source))


def check_format(name: Any, version: Any) -> None:
    """Raise SnapshotRefusedError for what this version does not read."""
    if (name, version) != (FORMAT, FORMAT_VERSION):
        named = f"{str(name)[:80]} {str(version)[:80]}"
        raise SnapshotRefusedError(f"this server reads {FORMAT} {FORMAT_VERSION}, not {named}")


def _format_first(fields: Any) -> Any:
    if isinstance(fields, dict) and "format" in fields and "format_version" in fields:
        check_format(fields["format"], fields["format_version"])
    return fields


@dataclass(frozen=True, slots=True, eq=False)
class SnapshotRequest(Request[Snapshot]):
    """Return all that a session is, as a document for any server with the same bundle."""

    session_id: SessionId


@dataclass(frozen=True, slots=True, eq=False)
class RestoreRequest(Request[SessionResult]):
    """Make a session what a snapshot says; a live session of that id starts over."""

    session_id: SessionId
    snapshot: Annotated[Snapshot, _FormatFirst(), Doc("What GET answered, unchanged.")]
