"""Planners without a world: a formula gives the values."""

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
class Finished:
    """A finished planner: its plan, and the candidates and values of each iteration.

    Planners that learn try their mean after all iterations: `final`.
    """

    plan: Plan
    tried: list[Actions]
    values: list[Values]
    final: Actions | None = None  # (1, H, …)
    final_value: float = -np.inf


def _run(planner: Planner, worth: Worth) -> Finished:
    tried, values, given = [], [], None
    while True:
        try:
            proposed = planner.send(given)
        except StopIteration as stop:
            return Finished(stop.value, tried, values)
        given = None
        if proposed is not None:  # else it only pauses
            tried.append(proposed.copy())
            given = np.array(worth(proposed), np.float64)
            values.append(given)


def _ask(
    name: str,
    space: ActionSpace,
    horizon: int,
    worth: Worth,
    seed: int = 1,
    warm: Actions | None = None,
    planner_of: Callable[..., Planner] = planner_of,
    **chosen: Any,
) -> Finished:
    options = PLANNERS[name].options(**chosen)

    def uniform(iteration: int, shape: tuple[int, ...], first: int) -> Array:
        numbers: Array = uniforms(seed, iteration, shape, first)
        return numbers

    return _run(planner_of(name, space, horizon, options, uniform, warm), worth)


def _drive(name: str, *problem: Any, **chosen: Any) -> Finished:
    if name == "random_shooting":  # which has only one
        chosen.pop("iterations", None)
    done = _ask(name, *problem, planner_of=_itself, **chosen)
    if name == "random_shooting":
        return done
    *tried, final = done.tried
    return Finished(done.plan, tried, done.values[:-1], final, float(done.values[-1][0]))


def _itself(name: str, *arguments: Any) -> Planner:
    return PLANNERS[name].plan(*arguments)


@pytest.fixture(scope="session")
def drive() -> Callable[..., Finished]:
    """Return a function that runs a planner, by name, to its end."""
    return _drive


@pytest.fixture(scope="session")
def ask() -> Callable[..., Finished]:
    """Return a function that runs what `planner_of` returns: the planner or exhaustive search."""
    return _ask
