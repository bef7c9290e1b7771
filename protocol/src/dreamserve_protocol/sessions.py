"""GET and DELETE /sessions/{session_id}, GET and PUT its snapshot."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from dreamserve_protocol.arrays import Array, Float32
from dreamserve_protocol.common import (
    BeganAt,
    HasEnded,
    Id,
    IsTruncated,
    MaxSteps,
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
from dreamserve_protocol.reset import FrameArray, LatentArray, VectorArray
from dreamserve_protocol.step import Signals, StepInclude, StepInfo

FORMAT, FORMAT_VERSION = "dreamserve-snapshot", 1
Tensors = dict[str, Annotated[Float32, Array("float32 *")]]


@dataclass(frozen=True, slots=True, eq=False)
class SessionRequest(Request["SessionResult"]):
    """Describe a session; its time to live is not renewed."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class SessionResult(Message):
    """Description of a session."""

    session_id: Id
    world: World
    step: StepsTaken
    seed: OwnSeed
    temperature: OwnTemperature
    terminated: HasEnded
    idle_s: Annotated[float, Doc("Seconds since it was last used.")]
    rewindable_to: Annotated[int, Doc("Earliest step that a rewind can return to.")]
    truncated: IsTruncated = False
    began_at: BeganAt = 0
    max_steps: Annotated[int | None, Doc("Time limit of the dream, if any.")] = None
    world_version: Annotated[
        str | None, Doc("Version of the world's bundle; absent for a world without a bundle.")
    ] = None


@dataclass(frozen=True, slots=True, eq=False)
class DeleteRequest(Request[None]):
    """End a session and free its slot."""

    session_id: SessionId


@dataclass(frozen=True, slots=True, eq=False)
class Final(Message):
    """The end of a dream that /step/batch has replaced by a new one."""

    latent: LatentArray
    state: Annotated[Tensors, Doc("Recurrent tensors by name.")]
    terminated: HasEnded
    truncated: IsTruncated


@dataclass(frozen=True, slots=True, eq=False)
class LastStep(Message):
    """Parts of the last step beyond its action, so that it can get the same response again."""

    include: Annotated[list[StepInclude], Doc("`include` of the step.")]
    info: StepInfo
    observed: Annotated[
        Literal["frame", "vector", "latent"] | None, Doc("Kind of the observation, if any.")
    ] = None
    frame_digest: Annotated[str | None, Doc("Hex digest of the observed frame or vector.")] = None
    frame: Annotated[FrameArray | None, Doc("Decoded frame, if it was included.")] = None
    mixture: Annotated[Tensors | None, Doc("Predicted mixture, if it was included.")] = None
    final: Annotated[Final | None, Doc("End of the dream, if the step restarted it.")] = None
    vector: Annotated[VectorArray | None, Doc("Decoded vector, if it was included.")] = None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Message):
    """The complete state of a session, for any server with the same bundle; do not edit."""

    format: Annotated[str, Doc("Name of the format.")]
    format_version: Annotated[int, Doc("Version of the format.")]
    world: World
    step: Annotated[Whole, Doc("Steps that the session has taken.")]
    seed: Annotated[Seed, Doc("Seed of the session's noise.")]
    temperature: Annotated[Temperature, Doc("Temperature of the dream.")]
    terminated: HasEnded
    latent: LatentArray
    state: Annotated[Tensors, Doc("Recurrent tensors by name.")]
    rewind_window: Annotated[Whole, Doc("Rewind window of the session; it starts empty.")]
    reward: Annotated[float, Doc("Reward of the last step.")]
    digest: Annotated[str, Doc("Digest of all other fields; the same in JSON and msgpack.")]
    world_version: Annotated[
        str | None, Doc("Version of the bundle; absent for a world without a bundle.")
    ] = None
    action: Annotated[
        OneAction | None, Doc("Action of the last step; absent before the first.")
    ] = None
    last_step: Annotated[
        LastStep | None,
        Doc("Present if the last step had an observation or an include, or restarted the dream."),
    ] = None
    max_steps: MaxSteps = None
    began_at: Annotated[
        Whole | None, Doc("Step after which the dream began; absent if that is 0.")
    ] = None
    signals: Annotated[
        Signals | None,
        Doc("Signals of the last step; absent before the first, and in a world without any."),
    ] = None


class _FormatFirst:
    """Check the format before anything else."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(_format_first, handler(source))


def check_format(name: Any, version: Any) -> None:
    """Raise SnapshotRefusedError for a format that this version does not read."""
    if (name, version) != (FORMAT, FORMAT_VERSION):
        named = f"{str(name)[:80]} {str(version)[:80]}"
        raise SnapshotRefusedError(f"this server reads {FORMAT} {FORMAT_VERSION}, not {named}")


def _format_first(fields: Any) -> Any:
    if isinstance(fields, dict) and "format" in fields and "format_version" in fields:
        check_format(fields["format"], fields["format_version"])
    return fields


@dataclass(frozen=True, slots=True, eq=False)
class SnapshotRequest(Request[Snapshot]):
    """Return a session's state, for any server with its bundle; its time to live is not renewed."""

    session_id: SessionId


@dataclass(frozen=True, slots=True, eq=False)
class RestoreRequest(Request[SessionResult]):
    """Restore a session from a snapshot; a live session with that id is replaced."""

    session_id: SessionId
    snapshot: Annotated[Snapshot, _FormatFirst(), Doc("The result of GET, unchanged.")]
