"""POST /step: advance a dream by one action."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Literal

from dreamserve_protocol.arrays import Array, Float32
from dreamserve_protocol.common import (
    OF_ACTION,
    Count,
    FrameFormat,
    Id,
    Observation,
    OneAction,
    SessionId,
    StepsTaken,
    Vector,
    check_not_both,
)
from dreamserve_protocol.markers import Doc, Items, Keys, Message, Request
from dreamserve_protocol.reset import FrameArray, LatentArray, Tensors, VectorArray

StepInclude = Literal["frame", "vector", "mixture", "state", "signals"]

Mixture = Annotated[
    dict[str, Annotated[Float32, Array("float32 *")]],
    Doc(
        "Prediction of the next latent, at temperature 1. A mixture of K components: `weights`"
        " (K,), `mu` (K, Z), `sigma` (K, Z); `per_dimension`: weights (K, Z); `isotropic`:"
        " sigma (K,). A categorical head: `probabilities` (groups, classes). A deterministic"
        " head: `mean` (Z,)."
    ),
]


Signals = Annotated[
    dict[str, float], Doc("Numbers that the world returns beside the reward, by name.")
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
            "Also return the decoded frame (`frame`) or vector (`vector`), the prediction of the"
            " latent (`mixture`), the recurrent state (`state`), the world's signals (`signals`)."
        ),
    ] = ()
    frame_format: FrameFormat = "array"
    vector: Annotated[
        Vector | None,
        Doc("In a world of vectors: real outcome of the action, instead of `observation`."),
    ] = None

    def __post_init__(self) -> None:
        if self.vector is not None:
            check_not_both(observation=self.observation, vector=self.vector)

    def may_be_resent(self) -> bool:
        """Return whether a request sent twice takes only one step."""
        return self.step is not None


StepInfo = Annotated[
    dict[str, float | bool],
    Keys(
        {
            "surprise": (
                "number",
                "How unlikely the observation was: of a mixture, its negative log-likelihood in"
                " nats per latent dimension; of a categorical head, its cross entropy in nats per"
                " group; of a deterministic head, its mean squared error.",
            ),
            "expected_surprise": (
                "number",
                "The same of the latent that the world sampled instead.",
            ),
            "predicted_terminated": (
                "boolean",
                "Whether the world predicted that the dream ends with this step.",
            ),
            "end_probability": (
                "number",
                "Probability of that end: the sigmoid of the world's logit less its threshold;"
                " with `mixture`, too.",
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
    vector: Annotated[VectorArray | None, Doc("Decoded vector, if included.")] = None
    signals: Annotated[Signals | None, Doc("The world's signals, if included.")] = None
