"""POST /plan: search for the best actions from a session's current state."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any, Literal

import numpy.typing as npt

from dreamserve_protocol.arrays import Array, Float32, Int64
from dreamserve_protocol.common import (
    Count,
    Observation,
    Seed,
    SessionId,
    Temperature,
    Vector,
    Whole,
    check_not_both,
)
from dreamserve_protocol.errors import InvalidRequestError
from dreamserve_protocol.markers import Doc, Message, Range, Request
from dreamserve_protocol.policies import Policy, check_single

LARGEST_WEIGHT = 1e6
Weight = Annotated[float, Range(-LARGEST_WEIGHT, LARGEST_WEIGHT)]
PlannerName = Literal["random_shooting", "cem", "icem", "mppi"]


@dataclass(frozen=True, slots=True, eq=False)
class Objective(Message):
    """What a plan maximises: a weighted sum, with at least one weight other than 0."""

    reward: Annotated[Weight, Doc("Weight of the sum of rewards.")] = 0.0
    survival: Annotated[Weight, Doc("Weight of the expected number of steps survived.")] = 0.0
    target: Annotated[
        Observation | None,
        Doc("What to approach, in latents: a frame, which is encoded, or a latent."),
    ] = None
    target_weight: Annotated[
        Weight, Doc("Weight of minus the mean squared distance from the target.")
    ] = 1.0
    signals: Annotated[
        Mapping[str, Weight] | None,
        Doc(
            "Weights of the sums of the world's signals, by name; of `value`, of its last step"
            " only, discounted as what follows it, if the future is alive then."
        ),
    ] = None
    target_vector: Annotated[
        Vector | None,
        Doc("In a world of vectors: vector to approach, instead of `target`."),
    ] = None

    def __post_init__(self) -> None:
        if self.target_vector is not None:
            check_not_both(target=self.target, target_vector=self.target_vector)
        weights = (self.reward, self.survival, *(self.signals or {}).values())
        has_target = self.target is not None or self.target_vector is not None
        if not (any(weights) or (has_target and self.target_weight)):
            raise InvalidRequestError("the objective has no weight other than 0")


@dataclass(frozen=True, slots=True, eq=False)
class PlanRequest(Request["PlanResult"]):
    """Search for the best actions from a session's current state; the session does not change."""

    session_id: SessionId
    _: KW_ONLY
    planner: Annotated[
        PlannerName,
        Doc(
            "Random shooting, the cross-entropy method, improved CEM with coloured noise, or model"
            " predictive path integral control."
        ),
    ] = "cem"
    horizon: Annotated[Count, Doc("H, the number of actions in a plan.")] = 20
    candidates: Annotated[
        Count | None,
        Doc("Action sequences evaluated in each iteration. Default: that of the planner."),
    ] = None
    iterations: Annotated[
        Count | None,
        Doc("Iterations of the search. Default: that of the planner. Random shooting has one."),
    ] = None
    options: Annotated[
        Mapping[str, float], Doc("Other options of the planner; docs/planning.md lists them.")
    ] = field(default_factory=dict)
    discount: Annotated[Annotated[float, Range(0, 1)], Doc("Discount factor for each step.")] = 0.99
    particles: Annotated[
        Count, Doc("Dreams of each candidate; its value is their mean, which reduces noise.")
    ] = 1
    action_repeat: Annotated[
        Count,
        Doc(
            "Steps for which each action is held; actions change after multiples of it, counted"
            " from the dream's start."
        ),
    ] = 1
    policy: Annotated[
        Policy | None,
        Doc(
            "A single policy, whose actions in a dream the search starts from, in place of the rest"
            " of the last plan."
        ),
    ] = None
    policy_steps: Annotated[
        Whole,
        Doc("Steps for which `policy` goes on after a candidate's actions; they count, too."),
    ] = 0
    objective: Annotated[Objective | None, Doc("Default: the sum of rewards.")] = None
    temperature: Annotated[Temperature | None, Doc("Default: the session's.")] = None
    warm_start: Annotated[
        bool, Doc("Start the search from the rest of the session's last plan.")
    ] = True
    budget_ms: Annotated[
        Annotated[float, Range(1, 3_600_000)] | None,
        Doc(
            "Milliseconds after which the best plan so far is returned; `candidates`, `iterations`"
            " and `particles` are then upper bounds."
        ),
    ] = None
    seed: Annotated[
        Seed | None, Doc("Seed of the search. Default: derived from the session's seed and step.")
    ] = None

    def __post_init__(self) -> None:
        check_single(self.policy)
        if self.policy_steps and self.policy is None:
            raise InvalidRequestError("policy_steps: give the policy that takes these steps")

    @property
    def steps(self) -> int:
        """Steps of a candidate: those of its actions, and those of the policy after them."""
        return self.horizon * self.action_repeat + self.policy_steps


@dataclass(frozen=True, slots=True, eq=False)
class PlanResult(Message):
    """The best action sequence found."""

    action: Annotated[
        int | Int64 | Float32,
        Array("int64", "int64 A", "float32 A"),
        Doc("The first of `actions`: take this one."),
    ]
    actions: Annotated[npt.NDArray[Any], Array("int64 H", "int64 H A", "float32 H A")]
    value: Annotated[float, Doc("Imagined value of the objective along `actions`.")]
    planner: Annotated[str, Doc("Name of the planner.")]
    iterations: Annotated[int, Doc("Iterations done.")]
    evaluations: Annotated[int, Doc("Candidates evaluated to the horizon.")]
    elapsed_ms: Annotated[float, Doc("Milliseconds that the search took.")]
    cut_short: Annotated[bool, Doc("Whether the budget allowed less than was requested.")]
