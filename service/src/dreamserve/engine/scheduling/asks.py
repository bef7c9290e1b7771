"""What a request tells of the long work that it asks for, before the engine has looked at it."""

from collections.abc import Callable
from math import inf
from typing import Any

from dreamserve.engine.scheduling.jobs import SOON_S, Ask
from dreamserve.planning.catalog import PLANNERS
from dreamserve_protocol.markers import Request
from dreamserve_protocol.plan import PlanRequest
from dreamserve_protocol.policies import policy_count, policy_of
from dreamserve_protocol.rollout import RolloutRequest
from dreamserve_protocol.sample import SampleRequest

_DEFAULTS: dict[str, Any] = {name: entry.options() for name, entry in PLANNERS.items()}


def _of_plan(request: PlanRequest) -> Ask:
    default = _DEFAULTS[request.planner]
    steps = (request.candidates or default.candidates) * request.particles * request.steps
    if request.planner != "random_shooting":  # which has one iteration
        steps *= request.iterations or default.iterations
    budget_s = inf if request.budget_ms is None else 1e-3 * request.budget_ms
    return Ask(steps, budget_s <= SOON_S, budget_s)


def _of_sample(request: SampleRequest) -> Ask:
    return Ask(request.futures * request.horizon, soon=False)


def _of_rollout(request: RolloutRequest) -> Ask:
    policies = policy_count(policy_of(request.policy))
    return Ask(policies * request.episode_count * request.max_steps, soon=False)


_ASKS: dict[type, Callable[[Any], Ask]] = {
    PlanRequest: _of_plan,
    SampleRequest: _of_sample,
    RolloutRequest: _of_rollout,
}


def ask_of(request: Request[Any]) -> Ask | None:
    """Return what is known of a plan, sample or rollout; None for any other request."""
    read = _ASKS.get(type(request))
    return None if read is None else read(request)
