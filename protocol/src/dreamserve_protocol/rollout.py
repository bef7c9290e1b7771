"""POST /rollout: imagine whole episodes of one policy or many; no session changes."""

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
    """Imagine whole episodes, E for each of P policies; no session changes.

    Episode e of every policy has the same seed: all policies get the same noise.
    """

    session_id: Annotated[SessionId | None, Doc(OF_SESSION)] = None
    _: KW_ONLY
    policy: Annotated[
        Policy,
        Doc('"random", "bundled", or an object with a `kind`; `linear` may hold P policies.'),
    ]
    max_steps: Annotated[Count, Doc("Maximum length of an episode.")]
    episodes: Annotated[Count | None, Doc("E, the number of episodes of each policy.")] = None
    seeds: Annotated[
        Annotated[Numbers, Array("int64 E")] | None,
        Doc(
            "Seeds of the episodes, instead of `episodes` and `seed`: each episode equals the dream"
            " of a session reset with its seed. Default: derived from `seed`, and returned."
        ),
    ] = None
    seed: Annotated[
        Seed | None,
        Doc("Default: drawn; with `session_id`, derived from the session's seed and step."),
    ] = None
    world: Annotated[WorldName | None, Doc(WITHOUT_SESSION)] = None
    start: Annotated[
        Start | None,
        Doc(
            "Without `session_id`: starting point of the episodes. Default: a bank entry drawn from"
            " each episode's seed."
        ),
    ] = None
    temperature: Annotated[Temperature | None, Doc("Default: the session's, or 1.")] = None
    include: Annotated[
        Sequence[RolloutInclude], Items(), Doc("Also return all latents, actions and rewards.")
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
    def episode_count(self) -> int:
        """E, the number of episodes of each policy."""
        return len(self.seeds) if self.seeds is not None else self.episodes or 0


@dataclass(frozen=True, slots=True, eq=False)
class RolloutStatistics(Message):
    """Statistics of each policy's finite episodes; null (in msgpack NaN) if there are none.

    Standard deviations are those of a sample (n - 1), 0 for a single episode.
    """

    episodes: Annotated[Int64, Array("int64 P"), Doc("Number of finite episodes.")]
    mean_return: Figures
    std_return: Figures
    min_return: Figures
    max_return: Figures
    mean_length: Figures
    std_length: Figures
    share_terminated: Figures


@dataclass(frozen=True, slots=True, eq=False)
class RolloutResult(Message):
    """E episodes of each of P policies; T is the length of the longest, others are zero-padded."""

    world: World
    seeds: Annotated[
        Int64, Array("int64 E"), Doc("A session reset with one of them has the same dream.")
    ]
    temperature: OwnTemperature
    returns: Annotated[Float64, Array("float64 P E"), Doc("Sums of rewards.")]
    lengths: Annotated[Int64, Array("int64 P E"), Doc("Numbers of steps.")]
    terminated: Annotated[
        Bools, Array("bool P E"), Doc("Whether the dream ended; false if it was cut off.")
    ]
    finite: Annotated[
        Bools,
        Array("bool P E"),
        Doc(
            "False if the episode became NaN or infinite: it ends at its last finite step and is"
            " left out of the statistics."
        ),
    ]
    statistics: Annotated[RolloutStatistics, Doc("Statistics of each policy's episodes.")]
    signals: Annotated[
        dict[str, Annotated[Float64, Array("float64 P E")]] | None,
        Doc("Sums of the world's signals over each episode, by name, if the world has any."),
    ] = None
    latents: Annotated[
        Annotated[Float32, Array("float32 P E T+1 Z")] | None,
        Doc("With `trajectories`; the first latent is the starting point."),
    ] = None
    actions: Annotated[
        Annotated[npt.NDArray[Any], Array("int64 P E T", "int64 P E T A", "float32 P E T A")]
        | None,
        Doc("With `trajectories`; action t is taken in latent t."),
    ] = None
    rewards: Annotated[
        Annotated[Float32, Array("float32 P E T")] | None, Doc("With `trajectories`.")
    ] = None
