"""A plan: a planner proposes, the world dreams, the planner chooses."""

import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from dreamserve import noise
from dreamserve.engine.checks import check_range
from dreamserve.engine.futures import Present, evaluate, uniforms
from dreamserve.engine.types import PlanRequest, PlanResult
from dreamserve.errors import DreamNotFiniteError, InvalidRequestError
from dreamserve.manifest import ActionSpace, DiscreteSpace
from dreamserve.planning.base import Plan, Planner
from dreamserve.planning.cem import Cem, cem
from dreamserve.planning.random_shooting import RandomShooting, random_shooting


def check_plan(request: PlanRequest) -> None:
    """Raise InvalidRequestError for a plan that cannot be made."""
    if request.planner not in ("random_shooting", "cem"):
        raise InvalidRequestError(f"planner must be random_shooting or cem, not {request.planner}")
    check_range("horizon", request.horizon, 1)
    check_range("candidates", request.candidates, 1)
    check_range("iterations", request.iterations, 1)
    check_range("discount", request.discount, 0, 1)


def plan(
    present: Present,
    request: PlanRequest,
    seed: int,
    slice_rows: int,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[None, None, PlanResult]:
    """Return the best actions found, yielding between calls of the world.

    Within an iteration all candidates meet the same luck, so that they are told apart by what
    they do; every iteration meets another. Raises DreamNotFiniteError.
    """
    began_s = clock()
    planner = _planner(present.world.spec.action_space, request, seed)
    best = yield from _drive(planner, present, request, seed, slice_rows)
    if best.value == -np.inf:
        raise DreamNotFiniteError("every candidate led to NaN or infinity")
    space = present.world.spec.action_space
    return PlanResult(
        action=_as_action(space, best.actions[0]),
        actions=best.actions,
        value=best.value,
        planner=request.planner,
        iterations=best.iterations,
        elapsed_ms=1e3 * (clock() - began_s),
        cut_short=False,
    )


def _planner(space: ActionSpace, request: PlanRequest, seed: int) -> Planner:
    def uniform(iteration: int, shape: tuple[int, ...]) -> noise.Float32:
        numbers: noise.Float32 = uniforms(seed, iteration, shape)
        return numbers

    if request.planner == "random_shooting":
        shooting = RandomShooting(candidates=request.candidates)
        return random_shooting(space, request.horizon, shooting, uniform)
    options = Cem(candidates=request.candidates, iterations=request.iterations)
    return cem(space, request.horizon, options, uniform)


def _drive(
    planner: Planner, present: Present, request: PlanRequest, seed: int, slice_rows: int
) -> Generator[None, None, Plan]:
    actions, iteration = next(planner), 0
    while True:
        luck = noise.keys(np.array([seed], np.uint64), np.array([iteration]), noise.PLAN)
        values = yield from evaluate(present, actions, int(luck[0]), request.discount, slice_rows)
        try:
            actions, iteration = planner.send(values), iteration + 1
        except StopIteration as stop:
            best: Plan = stop.value
            return best


def _as_action(space: ActionSpace, first: Any) -> Any:
    return int(first) if isinstance(space, DiscreteSpace) else first.copy()
