"""POST /reset: begin a dream, or start one over."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from dreamserve_protocol.arrays import Array, Float32, UInt8
from dreamserve_protocol.common import (
    FrameFormat,
    Id,
    LoadedWorld,
    MaxSteps,
    OwnSeed,
    OwnTemperature,
    Seed,
    SessionId,
    Start,
    StepsTaken,
    Temperature,
    Whole,
    World,
)
from dreamserve_protocol.markers import Doc, Items, Message, Request

StateInclude = Literal["frame", "vector", "state"]
StateIncludes = Annotated[
    Sequence[StateInclude],
    Items(),
    Doc(
        "Also return the decoded frame (`frame`), or vector in a world of vectors (`vector`), the"
        " recurrent state (`state`)."
    ),
]

FrameArray = Annotated[UInt8, Array("uint8 H W C")]
VectorArray = Annotated[Float32, Array("float32 n")]
LatentArray = Annotated[Float32, Array("float32 Z")]
Tensors = Annotated[
    dict[str, Annotated[Float32, Array("float32 *")]], Doc("Recurrent tensors by name.")
]


@dataclass(frozen=True, slots=True, eq=False)
class ResetRequest(Request["ResetResult"]):
    """Begin a dream, or start one over."""

    world: LoadedWorld = None
    _: KW_ONLY
    session_id: Annotated[
        SessionId | None,
        Doc(
            "1 to 128 characters of A-Z, a-z, 0-9, `_` and `-`. A live session with that id starts"
            " over. Default: a new id."
        ),
    ] = None
    seed: Annotated[
        Seed | None,
        Doc("The same seed gives the same dream. Default: drawn, and returned."),
    ] = None
    temperature: Annotated[
        Temperature | None,
        Doc("0: the most likely outcome; 1: as trained; above 1: more random. Default: 1."),
    ] = None
    start: Annotated[
        Start | None, Doc("Starting point. Default: a bank entry drawn from the seed.")
    ] = None
    rewind_window: Annotated[Whole, Doc("Number of last steps to keep in memory for /rewind.")] = 0
    max_steps: MaxSteps = None
    include: StateIncludes = ()
    frame_format: FrameFormat = "array"


@dataclass(frozen=True, slots=True, eq=False)
class ResetResult(Message):
    """A dream at its step 0."""

    session_id: Id
    world: World
    step: StepsTaken
    latent: LatentArray
    seed: OwnSeed
    temperature: OwnTemperature
    frame: Annotated[FrameArray | None, Doc("Decoded frame, if included.")] = None
    state: Annotated[Tensors | None, Doc("Recurrent tensors, if included.")] = None
    vector: Annotated[VectorArray | None, Doc("Decoded vector, if included.")] = None
