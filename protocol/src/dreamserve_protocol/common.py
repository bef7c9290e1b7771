"""Fields shared by many requests and results: ids, seeds, temperatures, starting points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from dreamserve_protocol.arrays import Array
from dreamserve_protocol.errors import InvalidActionError, InvalidRequestError
from dreamserve_protocol.markers import Doc, Message, Range, Text

LARGEST_INTEGER = 2**53 - 1  # the largest that a JSON number holds exactly
MAX_TEMPERATURE = 1000.0
LARGEST_LATENT = 1e6  # in magnitude; larger numbers overflow in most worlds' graphs

# Callers may pass an array or nested lists. A validated request holds arrays.
Numbers = Sequence[Any] | npt.NDArray[Any]

SessionId = Annotated[
    str,
    Text(128, r"^[A-Za-z0-9_-]{1,128}$"),
    Doc("1 to 128 characters of A-Z, a-z, 0-9, `_` and `-`."),
]
AnyId = Annotated[str, Text(128)]  # in a batch a malformed id is its row's error
WorldName = Annotated[str, Text(128)]
LoadedWorld = Annotated[
    WorldName | None, Doc("Name of a loaded world. Default: the first one loaded.")
]
Count = Annotated[int, Range(1, LARGEST_INTEGER)]
Whole = Annotated[int, Range(0, LARGEST_INTEGER)]
Seed = Annotated[int, Range(0, LARGEST_INTEGER)]
Temperature = Annotated[float, Range(0, MAX_TEMPERATURE)]

OneAction = Annotated[
    int | Numbers, Array("int64", "int64 A", "float32 A", error=InvalidActionError)
]
ActionSequence = Annotated[
    Numbers, Array("int64 H", "int64 H A", "float32 H A", error=InvalidActionError)
]
OF_ACTION = (
    "An integer in a Discrete world, A numbers within the bounds in a Box world, A integers in a"
    " MultiDiscrete or MultiBinary world."
)
Latent = Annotated[Numbers, Array("float32 Z", most=LARGEST_LATENT)]
Observation = Annotated[Numbers, Array("uint8 H W C", "float32 Z", most=LARGEST_LATENT)]
Vector = Annotated[Numbers, Array("float32 n")]
Integers = Annotated[Numbers, Array("int64 B")]

FrameFormat = Annotated[
    Literal["array", "png"],
    Doc(
        'Included frames are arrays, or PNG files, `{"png": file}`; those of more than four'
        " channels are always arrays."
    ),
]

# Fields of many results.
Id = Annotated[str, Doc("Id of the session.")]
Ids = Annotated[Sequence[str], Doc("Ids of the sessions, in the order of the request.")]
World = Annotated[str, Doc("Name of the world.")]
StepsTaken = Annotated[int, Doc("Steps that the session has taken; 0 after /reset.")]
OwnSeed = Annotated[int, Doc("Seed of the session's noise.")]
OwnTemperature = Annotated[float, Doc("Temperature of the dream.")]
HasEnded = Annotated[bool, Doc("Whether the dream has ended.")]
IsTruncated = Annotated[bool, Doc("Whether the dream has reached its `max_steps`.")]
MaxSteps = Annotated[
    Count | None,
    Doc(
        "Time limit of the dream: the step that reaches it is `truncated`, and the dream then takes"
        " no more steps. Default: none."
    ),
]
BeganAt = Annotated[
    int, Doc("Step after which the dream began: 0, or later where /step/batch restarted it.")
]

OF_SESSION = "Session to start from; it does not change."
WITHOUT_SESSION = "Without `session_id`: name of a loaded world. Default: the first one loaded."


Age = Annotated[
    Literal["beginning", "any"] | Whole | None,
    Doc(
        "A bank entry, drawn from the seed, of this age: `beginning`, which is 0 to 16 steps;"
        " `any`; or the age nearest to a number of steps. Default: `beginning`."
    ),
]


@dataclass(frozen=True, slots=True, eq=False)
class Start(Message):
    """Starting point of a dream: exactly one of a bank entry, a latent, real frames or vectors."""

    bank: Annotated[
        Whole | None, Doc("Entry of the world's bank of real starting points, from 0.")
    ] = None
    latent: Annotated[
        Latent | None, Doc("Latent to start at; the recurrent state starts at zero.")
    ] = None
    frames: Annotated[
        Annotated[Numbers, Array("uint8 F H W C")] | None,
        Doc(
            "Real frames, of the camera's shape or of the world's input shape. The dream starts at"
            " the last one; the recurrent state is warmed up (burn-in) on the earlier ones."
        ),
    ] = None
    actions: Annotated[
        ActionSequence | None, Doc("The F - 1 actions taken between the frames or vectors.")
    ] = None
    vectors: Annotated[
        Annotated[Numbers, Array("float32 F n")] | None,
        Doc("In a world of vectors: real vectors instead of frames."),
    ] = None
    age: Age = None

    def __post_init__(self) -> None:
        names = ("bank", "latent", "frames", "vectors", "age")
        if sum(getattr(self, name) is not None for name in names) != 1:
            raise InvalidRequestError(f"give exactly one of {', '.join(names)}")
        kind = "frame" if self.vectors is None else "vector"
        seen = self.observations
        if seen is None:
            if self.actions is not None:
                raise InvalidRequestError("actions go with frames or vectors")
            return
        if len(seen) == 0:
            raise InvalidRequestError(f"{kind}s must hold at least one {kind}")
        between = 0 if self.actions is None else len(self.actions)
        if between != len(seen) - 1:
            count = len(seen)
            raise InvalidRequestError(
                f"{count} {kind}s need {count - 1} actions between them, not {between}"
            )

    @property
    def observations(self) -> Numbers | None:
        """The frames or the vectors, if the start has them."""
        return self.frames if self.vectors is None else self.vectors


def make_lists(request: Any, *names: str) -> None:
    """Turn the arrays that a caller has in these fields of a new request into lists.

    Raises InvalidRequestError for what is no sequence.
    """
    for name in names:
        value = getattr(request, name)
        if isinstance(value, np.ndarray):
            value = value.tolist()
            object.__setattr__(request, name, value)  # it is frozen, and not in use yet
        if value is not None and not isinstance(value, Sequence):
            raise InvalidRequestError(f"{name} must be a list, not {value!r}")


def check_one(**given: Any) -> None:
    """Raise InvalidRequestError unless exactly one of these fields is given."""
    if sum(value is not None for value in given.values()) != 1:
        raise InvalidRequestError(f"give exactly one of {' and '.join(given)}")


def check_not_both(**given: Any) -> None:
    """Raise InvalidRequestError if both of two fields are given."""
    if all(value is not None for value in given.values()):
        raise InvalidRequestError(f"give {' or '.join(given)}, not both")


def check_place(session_id: str | None, world: str | None, start: Start | None) -> None:
    """Raise InvalidRequestError if both a session and a world or a start are given."""
    if session_id is not None and (world is not None or start is not None):
        raise InvalidRequestError("give session_id, or world and start, not both")
