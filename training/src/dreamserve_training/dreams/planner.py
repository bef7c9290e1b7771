"""Planning in an environment's dream with the engine's planners."""

from typing import Any

import numpy.typing as npt
import torch

from dreamserve_protocol.plan import PlannerName, PlanResult
from dreamserve_training.dreams.environment import DreamEnvironment, start_of

Observation = npt.ArrayLike | torch.Tensor | None
_SESSION = "planner"


class DreamPlanner:
    """Plans in the dream of `env`, whose current state does not change.

    Plans start from `initial_obs`, an `initial_observation` of the environment, with M's initial
    state; by default from the environment's current state. Each method returns the first action of
    the best sequence found and the sequence's value, by default the sum of rewards over `horizon`
    steps. `fields` are those of `dreamserve_protocol.plan.PlanRequest` (`seed`, `discount`,
    `objective`, `particles`, `options`, …). Equal seeds give equal plans.
    """

    def __init__(self, env: DreamEnvironment) -> None:
        self.env = env

    def random_shooting(
        self,
        initial_obs: Observation = None,
        horizon: int = 20,
        num_candidates: int = 1000,
        **fields: Any,
    ) -> tuple[Any, float]:
        """Return the best of `num_candidates` random sequences."""
        fields |= {"candidates": num_candidates}
        return _first_action(self.plan("random_shooting", initial_obs, horizon, **fields))

    def cem(
        self,
        initial_obs: Observation = None,
        horizon: int = 20,
        num_candidates: int | None = None,
        iterations: int | None = None,
        **fields: Any,
    ) -> tuple[Any, float]:
        """Plan by the cross-entropy method, which refits a distribution to the best candidates."""
        fields |= {"candidates": num_candidates, "iterations": iterations}
        return _first_action(self.plan("cem", initial_obs, horizon, **fields))

    def icem(
        self,
        initial_obs: Observation = None,
        horizon: int = 20,
        num_candidates: int | None = None,
        iterations: int | None = None,
        **fields: Any,
    ) -> tuple[Any, float]:
        """Plan by iCEM, the cross-entropy method with time-correlated candidates."""
        fields |= {"candidates": num_candidates, "iterations": iterations}
        return _first_action(self.plan("icem", initial_obs, horizon, **fields))

    def mppi(
        self,
        initial_obs: Observation = None,
        horizon: int = 20,
        num_candidates: int | None = None,
        iterations: int | None = None,
        **fields: Any,
    ) -> tuple[Any, float]:
        """Plan by MPPI, which averages all candidates, weighted by their values."""
        fields |= {"candidates": num_candidates, "iterations": iterations}
        return _first_action(self.plan("mppi", initial_obs, horizon, **fields))

    def plan(
        self,
        planner: PlannerName,
        initial_obs: Observation = None,
        horizon: int = 20,
        **fields: Any,
    ) -> PlanResult:
        """Return the planner's full result: the sequence of actions, its value and diagnostics."""
        dream, session = self.env.dream, _SESSION
        if initial_obs is None:
            session = self.env.plan_session()
        else:
            dream.reset(
                session_id=_SESSION,
                seed=fields.get("seed", 0),
                temperature=self.env.temperature,
                start=start_of(self.env.world.spec.observation, initial_obs),
            )
        fields = {"discount": 1.0, "seed": 0, "warm_start": False, **fields}
        return dream.plan(session_id=session, planner=planner, horizon=horizon, **fields)


def _first_action(plan: PlanResult) -> tuple[Any, float]:
    return plan.action, plan.value
