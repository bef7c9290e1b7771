"""POST /sample: imagine many trajectories from one state; no session changes."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from dreamserve_protocol.arrays import Array, Bools, Float32, Int64, UInt8
from dreamserve_protocol.common import (
    OF_SESSION,
    WITHOUT_SESSION,
    ActionSequence,
    Count,
    FrameFormat,
    Seed,
    SessionId,
    Start,
    Temperature,
    WorldName,
    check_place,
)
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import Doc, Items, Message, Request
from dreamserve_protocol.policies import Policy, check_single

SampleInclude = Literal[
    "frames", "vectors", "mixture", "entropy", "most_likely", "components", "signals"
]
Rewards = Annotated[Float32, Array("float32 N H")]


@dataclass(frozen=True, slots=True, eq=False)
class SampleRequest(Request["SampleResult"]):
    """Imagine many trajectories (futures) of a session, or from a start; no session changes."""

    session_id: Annotated[SessionId | None, Doc(OF_SESSION)] = None
    _: KW_ONLY
    futures: Annotated[Count, Doc("N, the number of futures.")]
    horizon: Annotated[Count, Doc("H, the number of steps of each.")]
    world: Annotated[WorldName | None, Doc(WITHOUT_SESSION)] = None
    start: Annotated[Start | None, Doc("Without `session_id`: starting point of the futures.")] = (
        None
    )
    actions: Annotated[
        ActionSequence | None, Doc("Actions of all futures. Default: those of `policy`.")
    ] = None
    policy: Annotated[Policy | None, Doc("A single policy. Default: random.")] = None
    temperature: Annotated[Temperature | None, Doc("Default: the session's, or 1.")] = None
    seed: Annotated[
        Seed | None,
        Doc("Default: derived from the session's seed and step; without a session, drawn."),
    ] = None
    include: Annotated[
        Sequence[SampleInclude],
        Items(),
        Doc(
            "Also return the decoded frames, or vectors; the predicted mixture of each step; its"
            " entropies (two fields); the most likely future; one future for each component of the"
            " first step; the world's signals. The two futures take `actions`, or else those of the"
            " first future."
        ),
    ] = ()
    frame_format: FrameFormat = "array"

    def __post_init__(self) -> None:
        check_place(self.session_id, self.world, self.start)
        if self.session_id is None and self.start is None:
            raise InvalidRequestError("give session_id, or start (and world)")
        if self.actions is not None and self.policy is not None:
            raise InvalidRequestError("give actions or policy, not both")
        if self.actions is not None and len(self.actions) != self.horizon:
            raise InvalidRequestError(
                f"horizon {self.horizon} needs as many actions, not {len(self.actions)}"
            )
        check_single(self.policy)


@dataclass(frozen=True, slots=True, eq=False)
class MostLikely(Message):
    """The deterministic future of H steps, as of a dream at temperature 0.

    An end that the world draws comes where it is more likely than not.
    """

    latents: Annotated[Float32, Array("float32 H Z")]
    rewards: Annotated[Float32, Array("float32 H")]
    terminated: Annotated[Bools, Array("bool H")]
    frames: Annotated[
        Annotated[UInt8, Array("uint8 H height width C")] | None,
        Doc("Decoded frames, if included."),
    ] = None
    vectors: Annotated[
        Annotated[Float32, Array("float32 H n")] | None, Doc("Decoded vectors, if included.")
    ] = None


@dataclass(frozen=True, slots=True, eq=False)
class Components(Message):
    """One future for each of the K components or classes of the first step, by falling weight.

    `weights` and `order` are (K, N) if N are chosen, one for each latent dimension of a
    `per_dimension` mixture or each group of classes: future k takes the k-th most likely of each.
    """

    weights: Annotated[Float32, Array("float32 K", "float32 K N"), Doc("At temperature 1.")]
    order: Annotated[
        Int64, Array("int64 K", "int64 K N"), Doc("Index of the component in `mixture`.")
    ]
    latents: Annotated[
        Float32,
        Array("float32 K H Z"),
        Doc("The component's mean at the first step, the most likely outcome afterwards."),
    ]
    rewards: Annotated[Float32, Array("float32 K H")]
    terminated: Annotated[Bools, Array("bool K H")]
    frames: Annotated[
        Annotated[UInt8, Array("uint8 K H height width C")] | None,
        Doc("Decoded frames, if included."),
    ] = None
    vectors: Annotated[
        Annotated[Float32, Array("float32 K H n")] | None, Doc("Decoded vectors, if included.")
    ] = None


@dataclass(frozen=True, slots=True, eq=False)
class SampleResult(Message):
    """N futures of H steps. After one has ended, rewards are 0 and the last latent repeats."""

    latents: Annotated[Float32, Array("float32 N H Z")]
    rewards: Rewards
    terminated: Annotated[Bools, Array("bool N H")]
    frames: Annotated[
        Annotated[UInt8, Array("uint8 N H height width C")] | None,
        Doc("Decoded frames, if included."),
    ] = None
    mixture: Annotated[
        dict[str, Annotated[Float32, Array("float32 *")]] | None,
        Doc("As in /step, with leading axes (N, H). 0 after a future has ended."),
    ] = None
    entropy: Annotated[
        Rewards | None,
        Doc(
            "Mean entropy of the choices, in nats: 0 to ln K for K components or classes. 0 after"
            " the end."
        ),
    ] = None
    differential_entropy: Annotated[
        Rewards | None,
        Doc(
            "Differential entropy of a mixture (an approximation), in nats per latent dimension;"
            " may be negative. 0 after the end. Other heads have none."
        ),
    ] = None
    most_likely: Annotated[MostLikely | None, Doc("The most likely future, if included.")] = None
    components: Annotated[Components | None, Doc("One future for each component, if included.")] = (
        None
    )
    vectors: Annotated[
        Annotated[Float32, Array("float32 N H n")] | None, Doc("Decoded vectors, if included.")
    ] = None
    signals: Annotated[
        dict[str, Rewards] | None, Doc("The world's signals by name, if included. 0 after the end.")
    ] = None
