"""Planning in the dream of an environment, by the engine's own planners."""

from typing import Any

import numpy.typing as npt
import torch

from dreamserve_protocol.plan import PlanResult
from dreamserve_training.dreams.environment import DreamEnvironment, start_of

Observation = npt.ArrayLike | torch.Tensor | None
_SESSION = "planner"


class DreamPlanner:
    """Plans in the dream of `env`, whose present stays unchanged.

    Plans start at `initial_obs`: a latent (Z,) or a frame (H, W, 3) uint8, with an empty memory;
    without one, at the environment's present, memory and all. Each method returns the first action
    of the best sequence found, and its value: the sum of dreamt rewards over `horizon`
    steps, unless `fields` say otherwise, which are those of `dreamserve_protocol.plan.PlanRequest`
    (`seed`, `discount`, `objective`, `particles`, `options`, …). Equal seeds find equal plans.
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
        """Take the best of random sequences."""
        fields |= {"candidates": num_candidates}
        return _first(self.plan("random_shooting", initial_obs, horizon, **fields))

    def cem(
        self,
        initial_obs: Observation = None,
        horizon: int = 20,
        num_candidates: int | None = None,
        iterations: int | None = None,
        **fields: Any,
    ) -> tuple[Any, float]:
        """Search by the cross-entropy method: each iteration draws around the last one's best."""
        fields |= {"candidates": num_candidates, "iterations": iterations}
        return _first(self.plan("cem", initial_obs, horizon, **fields))

    def icem(
        self,
        initial_obs: Observation = None,
        horizon: int = 20,
        num_candidates: int | None = None,
        iterations: int | None = None,
        **fields: Any,
    ) -> tuple[Any, float]:
        """Search by the improved cross-entropy method, whose candidates hold their course."""
        fields |= {"candidates": num_candidates, "iterations": iterations}
        return _first(self.plan("icem", initial_obs, horizon, **fields))

    def mppi(
        self,
        initial_obs: Observation = None,
        horizon: int = 20,
        num_candidates: int | None = None,
        iterations: int | None = None,
        **fields: Any,
    ) -> tuple[Any, float]:
        """Search by model predictive path integral control, which weighs all candidates."""
        fields |= {"candidates": num_candidates, "iterations": iterations}
        return _first(self.plan("mppi", initial_obs, horizon, **fields))

    def plan(
        self, planner: str, initial_obs: Observation = None, horizon: int = 20, **fields: Any
    ) -> PlanResult:
        """Return all of what the planner found: the whole sequence and how it was found."""
        dream, session = self.env.dream, _SESSION
        if initial_obs is None:
            session = self.env.plan_session()
        else:
            dream.reset(
                session_id=_SESSION,
                seed=fields.get("seed", 0),
                temperature=self.env.temperature,
                start=start_of(initial_obs),
            )
        fields = {"discount": 1.0, "seed": 0, "warm_start": False, **fields}
        return dream.plan(session_id=session, planner=planner, horizon=horizon, **fields)


def _first(plan: PlanResult) -> tuple[Any, float]:
    return plan.action, plan.value
