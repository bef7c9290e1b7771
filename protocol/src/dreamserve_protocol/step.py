"""POST /step: advance a dream by one action."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Literal

from dreamserve_protocol.arrays import Array, Float32
from dreamserve_protocol.common import (
    LARGEST_LATENT,
    Count,
    Id,
    Numbers,
    OneAction,
    SessionId,
    StepsTaken,
)
from dreamserve_protocol.markers import Doc, Items, Keys, Message, Request
from dreamserve_protocol.reset import FrameArray, LatentArray, Tensors

StepInclude = Literal["frame", "mixture", "state"]

Observation = Annotated[Numbers, Array("uint8 H W C", "float32 Z", most=LARGEST_LATENT)]
Mixture = Annotated[
    dict[str, Annotated[Float32, Array("float32 *")]],
    Doc(
        "What the world expected, at temperature 1, of its K components: `weights` (K,), `mu`"
        " (K, Z), `sigma` (K, Z). A `per_dimension` head has weights (K, Z), an `isotropic` one"
        " sigma (K,)."
    ),
]


# Not frozen: that would double what one costs to make.
@dataclass(slots=True, eq=False)
class StepRequest(Request["StepResult"]):
    """Advance a dream by one action."""

    session_id: SessionId
    action: Annotated[
        OneAction,
        Doc("An integer in a Discrete world, A numbers within the bounds in a Box world."),
    ]
    _: KW_ONLY
    step: Annotated[
        Count | None,
        Doc(
            "Number that this step will have: the last answered + 1. The last step, sent again with"
            " the same content, gets the same answer; anything else is a conflict. Default: the"
            " next one, each time it is sent."
        ),
    ] = None
    observation: Annotated[
        Observation | None,
        Doc(
            "What really came next: a frame or a latent. The dream is corrected to it, and `info`"
            " says how surprised the world was. Default: the dream goes on by itself."
        ),
    ] = None
    include: Annotated[
        Sequence[StepInclude],
        Items(),
        Doc("Also answer the decoded frame, what was expected, the recurrent state."),
    ] = ()

    def may_be_resent(self) -> bool:
        """Tell whether sending it twice takes one step."""
        return self.step is not None


StepInfo = Annotated[
    dict[str, float | bool],
    Keys(
        {
            "surprise": (
                "number",
                "Negative log-likelihood of the observation, nats per latent dimension.",
            ),
            "expected_surprise": (
                "number",
                "The same of the latent that the world dreamt in its place.",
            ),
            "predicted_terminated": (
                "boolean",
                "Whether the world expected the dream to end with this step.",
            ),
        }
    ),
    Doc("What else there is to say of a step; empty unless it had an `observation`."),
]


@dataclass(slots=True, eq=False)
class StepResult(Message):
    """A dream after one more step."""

    session_id: Id
    step: StepsTaken
    latent: Annotated[LatentArray, Doc("Where the dream is: the observation's, if there was one.")]
    reward: Annotated[
        float, Doc("What the world predicts for this step, with an observation as without one.")
    ]
    terminated: Annotated[
        bool,
        Doc(
            "The dream has ended; /reset starts over, or a rewind goes back. Always false with an"
            " observation, because reality knows whether it goes on: see"
            " `info.predicted_terminated`."
        ),
    ]
    truncated: Annotated[bool, Doc("Always false: no time limit is set.")] = False
    info: StepInfo = field(default_factory=dict)
    frame: Annotated[FrameArray | None, Doc("If included.")] = None
    mixture: Annotated[Mixture | None, Doc("If included.")] = None
    state: Annotated[Tensors | None, Doc("If included.")] = None
