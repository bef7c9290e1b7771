"""POST /plan: look for the best actions from a session's present; the session does not move."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any, Literal

import numpy.typing as npt

from dreamserve_protocol.arrays import Array, Float32
from dreamserve_protocol.common import Count, Latent, Seed, SessionId, Temperature
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import Doc, Message, Range, Request

LARGEST_WEIGHT = 1e6
Weight = Annotated[float, Range(-LARGEST_WEIGHT, LARGEST_WEIGHT)]
PlannerName = Literal["random_shooting", "cem", "icem", "mppi"]


@dataclass(frozen=True, slots=True, eq=False)
class Objective(Message):
    """What a plan is for: a weighted sum, of which at least one weight is not 0."""

    reward: Annotated[Weight, Doc("Weight of the sum of rewards.")] = 0.0
    survival: Annotated[Weight, Doc("Weight of the expected number of steps survived.")] = 0.0
    target: Annotated[Latent | None, Doc("Latent to come near to.")] = None
    target_weight: Annotated[
        Weight, Doc("Weight of the mean squared distance from the target.")
    ] = 1.0

    def __post_init__(self) -> None:
        if not (self.reward or self.survival or self.target is not None):
            raise InvalidRequestError("the objective has no weight but 0: nothing to plan for")


@dataclass(frozen=True, slots=True, eq=False)
class PlanRequest(Request["PlanResult"]):
    """Look for the best actions from a session's present; the session does not move."""

    session_id: SessionId
    _: KW_ONLY
    planner: Annotated[
        PlannerName,
        Doc(
            "Random shooting, the cross-entropy method, improved CEM with coloured noise, or model"
            " predictive path integral control."
        ),
    ] = "cem"
    horizon: Annotated[Count, Doc("H, actions looked ahead.")] = 20
    candidates: Annotated[
        Count | None, Doc("Action sequences tried in each iteration. Default: the planner's.")
    ] = None
    iterations: Annotated[
        Count | None, Doc("Default: the planner's. Random shooting always takes one.")
    ] = None
    options: Annotated[
        Mapping[str, float], Doc("The planner's own options; docs/planning.md lists them.")
    ] = field(default_factory=dict)
    discount: Annotated[
        Annotated[float, Range(0, 1)], Doc("Weight of a reward one step later.")
    ] = 0.99
    particles: Annotated[
        Count, Doc("Dreams of each candidate, whose mean value counts; averages out noise.")
    ] = 1
    action_repeat: Annotated[
        Count,
        Doc("Steps for which each action is held; actions change on multiples of it."),
    ] = 1
    objective: Annotated[Objective | None, Doc("Default: the sum of rewards.")] = None
    temperature: Annotated[Temperature | None, Doc("Default: the session's.")] = None
    warm_start: Annotated[
        bool, Doc("Begin the search with what remains of the session's last plan.")
    ] = True
    budget_ms: Annotated[
        Annotated[float, Range(1, 3_600_000)] | None,
        Doc(
            "Milliseconds after which the best plan so far is answered; `candidates`, `iterations`"
            " and `particles` are then the most that is tried."
        ),
    ] = None
    seed: Annotated[Seed | None, Doc("Default: follows from the session's seed and step.")] = None


@dataclass(frozen=True, slots=True, eq=False)
class PlanResult(Message):
    """The best action sequence found."""

    action: Annotated[
        int | Float32, Array("int64", "float32 A"), Doc("The first of `actions`: take this one.")
    ]
    actions: Annotated[npt.NDArray[Any], Array("int64 H", "float32 H A")]
    value: Annotated[float, Doc("Value of the objective along `actions`, as dreamt.")]
    planner: Annotated[str, Doc("Which planner found it.")]
    iterations: Annotated[int, Doc("Iterations of the search that were done.")]
    evaluations: Annotated[int, Doc("Candidates dreamt to their end.")]
    elapsed_ms: Annotated[float, Doc("Milliseconds that the search took.")]
    cut_short: Annotated[bool, Doc("The budget allowed less than was asked for.")]
