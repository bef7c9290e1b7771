"""POST /sample: dream many trajectories from one place; no session moves."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from dreamserve_protocol.arrays import Array, Bools, Float32, Int64, UInt8
from dreamserve_protocol.common import (
    OF_SESSION,
    WITHOUT_SESSION,
    ActionSequence,
    Count,
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

SampleInclude = Literal["frames", "mixture", "entropy", "most_likely", "components"]
Rewards = Annotated[Float32, Array("float32 N H")]


@dataclass(frozen=True, slots=True, eq=False)
class SampleRequest(Request["SampleResult"]):
    """Dream many futures of a session, or from a start; no session moves."""

    session_id: Annotated[SessionId | None, Doc(OF_SESSION)] = None
    _: KW_ONLY
    futures: Annotated[Count, Doc("N, how many futures.")]
    horizon: Annotated[Count, Doc("H, steps of each.")]
    world: Annotated[WorldName | None, Doc(WITHOUT_SESSION)] = None
    start: Annotated[Start | None, Doc("Without `session_id`: where they begin.")] = None
    actions: Annotated[
        ActionSequence | None, Doc("The same in all futures. Default: as `policy` acts.")
    ] = None
    policy: Annotated[Policy | None, Doc("One policy. Default: random.")] = None
    temperature: Annotated[Temperature | None, Doc("Default: the session's, or 1.")] = None
    seed: Annotated[Seed | None, Doc("Default: follows from the session's seed and step.")] = None
    include: Annotated[
        Sequence[SampleInclude],
        Items(),
        Doc(
            "Also answer the decoded frames; what was expected of each step (`mixture`) and how"
            " uncertain that was (`entropy`, which is two fields); the most likely future; one"
            " future for each component of the first step. The last two take `actions`, or else"
            " those of the first future."
        ),
    ] = ()

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
    """The deterministic future of H steps: as a dream at temperature 0."""

    latents: Annotated[Float32, Array("float32 H Z")]
    rewards: Annotated[Float32, Array("float32 H")]
    terminated: Annotated[Bools, Array("bool H")]
    frames: Annotated[
        Annotated[UInt8, Array("uint8 H height width C")] | None, Doc("If included.")
    ] = None


@dataclass(frozen=True, slots=True, eq=False)
class Components(Message):
    """A future for each of the K components of the first step, by falling weight.

    (K, Z) where each latent dimension has a mixture of its own: future k has its k-th likeliest.
    """

    weights: Annotated[Float32, Array("float32 K", "float32 K Z"), Doc("At temperature 1.")]
    order: Annotated[
        Int64, Array("int64 K", "int64 K Z"), Doc("Place of the component in `mixture`.")
    ]
    latents: Annotated[
        Float32,
        Array("float32 K H Z"),
        Doc("The component's mean at the first step, the most likely outcome afterwards."),
    ]
    rewards: Annotated[Float32, Array("float32 K H")]
    terminated: Annotated[Bools, Array("bool K H")]
    frames: Annotated[
        Annotated[UInt8, Array("uint8 K H height width C")] | None, Doc("If included.")
    ] = None


@dataclass(frozen=True, slots=True, eq=False)
class SampleResult(Message):
    """N futures of H steps. After a future has ended its rewards are 0 and its latents stand."""

    latents: Annotated[Float32, Array("float32 N H Z")]
    rewards: Rewards
    terminated: Annotated[Bools, Array("bool N H")]
    frames: Annotated[
        Annotated[UInt8, Array("uint8 N H height width C")] | None, Doc("If included.")
    ] = None
    mixture: Annotated[
        dict[str, Annotated[Float32, Array("float32 *")]] | None,
        Doc("As of /step, with (N, H) in front. 0 after a future has ended."),
    ] = None
    entropy: Annotated[
        Rewards | None,
        Doc("Entropy of the components' weights, in nats: 0 to ln K. 0 after the end."),
    ] = None
    differential_entropy: Annotated[
        Rewards | None,
        Doc("Of the mixture, in nats per latent dimension; may be negative. 0 after the end."),
    ] = None
    most_likely: Annotated[MostLikely | None, Doc("If included.")] = None
    components: Annotated[Components | None, Doc("If included.")] = None
