"""POST /rollout: dream whole episodes of one policy or many; no session moves."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from dreamserve_protocol.arrays import Array, Bools, Float32, Float64, Int64
from dreamserve_protocol.common import (
    LARGEST_INTEGER,
    OF_SESSION,
    WITHOUT_SESSION,
    Count,
    Numbers,
    OwnTemperature,
    Seed,
    SessionId,
    Start,
    Temperature,
    World,
    WorldName,
    check_one,
    check_place,
)
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import Doc, Items, Message, Request
from dreamserve_protocol.policies import Policy

RolloutInclude = Literal["trajectories"]
Figures = Annotated[Float64, Array("float64 P", nullable=True)]


@dataclass(frozen=True, slots=True, eq=False)
class RolloutRequest(Request["RolloutResult"]):
    """Dream whole episodes, E of each of P policies; no session moves.

    Episode e of every policy has the same seed: all policies meet the same noise.
    """

    session_id: Annotated[SessionId | None, Doc(OF_SESSION)] = None
    _: KW_ONLY
    policy: Annotated[
        Policy,
        Doc('"random", "bundled", or an object with a `kind`; a linear one may be P policies.'),
    ]
    max_steps: Annotated[Count, Doc("Where an episode that has not ended is cut off.")]
    episodes: Annotated[Count | None, Doc("E, how many of each policy.")] = None
    seeds: Annotated[
        Annotated[Numbers, Array("int64 E")] | None,
        Doc(
            "Instead of `episodes` and `seed`: each episode is the dream of a session reset with"
            " its seed. Default: they follow from `seed`, and are answered."
        ),
    ] = None
    seed: Annotated[
        Seed | None, Doc("Default: drawn; of a session, follows from its seed and step.")
    ] = None
    world: Annotated[WorldName | None, Doc(WITHOUT_SESSION)] = None
    start: Annotated[
        Start | None,
        Doc(
            "Without `session_id`: where episodes begin. Default: a bank entry drawn from each"
            " one's seed."
        ),
    ] = None
    temperature: Annotated[Temperature | None, Doc("Default: the session's, or 1.")] = None
    include: Annotated[
        Sequence[RolloutInclude], Items(), Doc("Also answer all latents, actions and rewards.")
    ] = ()

    def __post_init__(self) -> None:
        check_place(self.session_id, self.world, self.start)
        check_one(episodes=self.episodes, seeds=self.seeds)
        if self.seeds is None:
            return
        if self.seed is not None:
            raise InvalidRequestError("give seed or seeds, not both")
        seeds = np.asarray(self.seeds)
        if not len(seeds):
            raise InvalidRequestError("seeds must hold at least one seed")
        if seeds.min() < 0 or seeds.max() > LARGEST_INTEGER:
            raise InvalidRequestError(f"seeds must be within 0 and {LARGEST_INTEGER}")

    @property
    def each(self) -> int:
        """E: the episodes of each policy."""
        return len(self.seeds) if self.seeds is not None else self.episodes or 0


@dataclass(frozen=True, slots=True, eq=False)
class RolloutStatistics(Message):
    """What each policy's episodes came to, over the finite ones; null (in msgpack NaN) for none.

    Standard deviations are those of a sample (n - 1), 0 for a single episode.
    """

    episodes: Annotated[Int64, Array("int64 P"), Doc("The finite ones.")]
    mean_return: Figures
    std_return: Figures
    min_return: Figures
    max_return: Figures
    mean_length: Figures
    std_length: Figures
    share_terminated: Figures


@dataclass(frozen=True, slots=True, eq=False)
class RolloutResult(Message):
    """E episodes of each of P policies; T is the longest one's length, zeros pad the others."""

    world: World
    seeds: Annotated[
        Int64, Array("int64 E"), Doc("A session reset with one of them dreams the same.")
    ]
    temperature: OwnTemperature
    returns: Annotated[Float64, Array("float64 P E"), Doc("Sums of rewards.")]
    lengths: Annotated[Int64, Array("int64 P E"), Doc("Steps.")]
    terminated: Annotated[Bools, Array("bool P E"), Doc("False where `max_steps` cut it off.")]
    finite: Annotated[
        Bools,
        Array("bool P E"),
        Doc(
            "False where it became NaN or infinite: it ends with its last good step, and counts in"
            " no statistics."
        ),
    ]
    statistics: Annotated[RolloutStatistics, Doc("Of each policy's episodes.")]
    latents: Annotated[
        Annotated[Float32, Array("float32 P E T+1 Z")] | None,
        Doc("With `trajectories`; the first one is where the episode began."),
    ] = None
    actions: Annotated[
        Annotated[npt.NDArray[Any], Array("int64 P E T", "float32 P E T A")] | None,
        Doc("With `trajectories`; action t is taken in latent t."),
    ] = None
    rewards: Annotated[
        Annotated[Float32, Array("float32 P E T")] | None, Doc("With `trajectories`.")
    ] = None
