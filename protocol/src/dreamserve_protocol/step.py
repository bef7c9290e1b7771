"""POST /step: advance a dream by one action."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Literal

from dreamserve_protocol.arrays import Array, Float32
from dreamserve_protocol.common import (
    LARGEST_LATENT,
    OF_ACTION,
    Count,
    FrameFormat,
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
        "Predicted mixture of the next latent, at temperature 1, of K components: `weights` (K,),"
        " `mu` (K, Z), `sigma` (K, Z). A `per_dimension` head has weights (K, Z), an `isotropic`"
        " head sigma (K,)."
    ),
]


# Not frozen: that would double the cost of creating one.
@dataclass(slots=True, eq=False)
class StepRequest(Request["StepResult"]):
    """Advance a dream by one action."""

    session_id: SessionId
    action: Annotated[
        OneAction,
        Doc(OF_ACTION),
    ]
    _: KW_ONLY
    step: Annotated[
        Count | None,
        Doc(
            "Number of this step: that of the last step + 1. The last step, sent again with the"
            " same content, gets the same response; any other number is a conflict. Without a"
            " number, each request takes a new step."
        ),
    ] = None
    observation: Annotated[
        Observation | None,
        Doc(
            "Real outcome of the action: a frame or a latent. The dream continues from it, and"
            " `info` tells how unlikely it was. Default: the dream continues from the world's"
            " prediction."
        ),
    ] = None
    include: Annotated[
        Sequence[StepInclude],
        Items(),
        Doc(
            "Also return the decoded frame (`frame`), the predicted mixture (`mixture`), the"
            " recurrent state (`state`)."
        ),
    ] = ()
    frame_format: FrameFormat = "array"

    def may_be_resent(self) -> bool:
        """Return whether a request sent twice takes only one step."""
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
                "Negative log-likelihood of the latent that the world sampled instead.",
            ),
            "predicted_terminated": (
                "boolean",
                "Whether the world predicted that the dream ends with this step.",
            ),
            "end_probability": (
                "number",
                "Probability of that end, the sigmoid of the world's logit; with `mixture`, too.",
            ),
        }
    ),
    Doc("What the world predicted; empty without an `observation` and `mixture`."),
]


@dataclass(slots=True, eq=False)
class StepResult(Message):
    """A dream after one more step."""

    session_id: Id
    step: StepsTaken
    latent: Annotated[
        LatentArray, Doc("Latent after the step: that of the observation, if there was one.")
    ]
    reward: Annotated[float, Doc("Predicted reward of this step, with or without an observation.")]
    terminated: Annotated[
        bool,
        Doc(
            "Whether the dream has ended; then only /reset or a rewind continues. Always false with"
            " an observation, because the real environment decides whether an episode ends: see"
            " `info.predicted_terminated`."
        ),
    ]
    truncated: Annotated[
        bool,
        Doc("Whether `max_steps` of /reset is reached; then only /reset or a rewind continues."),
    ] = False
    info: StepInfo = field(default_factory=dict)
    frame: Annotated[FrameArray | None, Doc("Decoded frame, if included.")] = None
    mixture: Annotated[Mixture | None, Doc("Predicted mixture, if included.")] = None
    state: Annotated[Tensors | None, Doc("Recurrent tensors, if included.")] = None
