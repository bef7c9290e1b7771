"""Planning in the dream of an environment, by the engine's own planners."""

from typing import Any, Literal

import numpy.typing as npt
import torch

from dreamserve.engine.types import PlanResult
from dreamserve_training.tools.environment import DreamEnvironment, start_of

Observation = npt.ArrayLike | torch.Tensor | None
_SESSION = "planner"


class DreamPlanner:
    """Looks ahead in the dream of `env`, which does not move.

    Plans start at `initial_obs`: a latent (Z,) or a frame (H, W, 3) uint8, with an empty memory;
    without one, at the environment's present, memory and all. The same `seed` finds the same plan.
    """

    def __init__(self, env: DreamEnvironment) -> None:
        self.env = env

    def random_shooting(
        self,
        initial_obs: Observation = None,
        horizon: int = 20,
        num_candidates: int = 1000,
        *,
        discount: float = 1.0,
        seed: int = 0,
    ) -> tuple[Any, float]:
        """Return the first action of the best of `num_candidates` random sequences, and its value.

        The value is the (discounted) sum of dreamt rewards over `horizon` steps.
        """
        found = self.plan(
            "random_shooting", initial_obs, horizon, num_candidates, 1, discount=discount, seed=seed
        )
        return found.action, found.value

    def cem(
        self,
        initial_obs: Observation = None,
        horizon: int = 20,
        num_candidates: int = 256,
        iterations: int = 4,
        *,
        discount: float = 1.0,
        seed: int = 0,
    ) -> tuple[Any, float]:
        """Return the first action of the best sequence that the cross-entropy method finds, and
        its value; each iteration draws `num_candidates` around the best of the one before."""
        found = self.plan(
            "cem", initial_obs, horizon, num_candidates, iterations, discount=discount, seed=seed
        )
        return found.action, found.value

    def plan(
        self,
        planner: Literal["random_shooting", "cem"],
        initial_obs: Observation,
        horizon: int,
        num_candidates: int,
        iterations: int,
        *,
        discount: float,
        seed: int,
    ) -> PlanResult:
        """Return all of what the planner found: the whole sequence and how it was found."""
        dream = self.env.dream
        session = _SESSION
        if initial_obs is None:
            session = self.env.plan_session()
        else:
            dream.reset(
                session_id=_SESSION,
                seed=seed,
                temperature=self.env.temperature,
                start=start_of(initial_obs),
            )
        return dream.plan(
            session_id=session,
            planner=planner,
            horizon=horizon,
            candidates=num_candidates,
            iterations=iterations,
            discount=discount,
            seed=seed,
        )
