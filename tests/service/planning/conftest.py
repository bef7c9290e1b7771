"""Planners alone: told values by a formula, no world in sight."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.imagination.trajectories import uniforms
from dreamserve.planning.base import Actions, Array, Plan, Planner, Values
from dreamserve.planning.catalog import PLANNERS, planner_of
from dreamserve.spaces import ActionSpace

Worth = Callable[[Actions], Any]  # candidates (N, H, …) to values (N,)


@dataclass(frozen=True)
class Driven:
    """A finished planner: its plan, what it tried in each iteration, and what that was worth.

    Planners that learn try one more candidate when all iterations are over: `polish`.
    """

    plan: Plan
    tried: list[Actions]
    values: list[Values]
    polish: Actions | None = None  # (1, H, …)
    polish_value: float = -np.inf


def _run(planner: Planner, worth: Worth) -> Driven:
    tried, values = [next(planner)], []
    while True:
        candidates = tried[-1].copy()
        values.append(np.array(worth(candidates), np.float64))
        tried[-1] = candidates
        try:
            tried.append(planner.send(values[-1]))
        except StopIteration as stop:
            return Driven(stop.value, tried, values)


def _ask(
    name: str,
    space: ActionSpace,
    horizon: int,
    worth: Worth,
    seed: int = 1,
    warm: Actions | None = None,
    planner_of: Callable[..., Planner] = planner_of,
    **chosen: Any,
) -> Driven:
    options = PLANNERS[name].options(**chosen)

    def uniform(iteration: int, shape: tuple[int, ...]) -> Array:
        numbers: Array = uniforms(seed, iteration, shape)
        return numbers

    return _run(planner_of(name, space, horizon, options, uniform, warm), worth)


def _drive(name: str, *problem: Any, **chosen: Any) -> Driven:
    if name == "random_shooting":  # which has but one
        chosen.pop("iterations", None)
    done = _ask(name, *problem, planner_of=_itself, **chosen)
    if name == "random_shooting":
        return done
    *tried, polish = done.tried
    return Driven(done.plan, tried, done.values[:-1], polish, float(done.values[-1][0]))


def _itself(name: str, *asked: Any) -> Planner:
    return PLANNERS[name].plan(*asked)


@pytest.fixture(scope="session")
def drive() -> Callable[..., Driven]:
    """Runs a planner, by its name, to its end."""
    return _drive


@pytest.fixture(scope="session")
def ask() -> Callable[..., Driven]:
    """Runs what is done when a planner is asked for by its name: it, or exhaustive search."""
    return _ask
