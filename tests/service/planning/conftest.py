"""Planners alone: told values by a formula, no world in sight."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.futures import uniforms
from dreamserve.manifest import ActionSpace
from dreamserve.planning.base import Actions, Plan, Values
from dreamserve.planning.catalog import PLANNERS

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


def _drive(
    name: str,
    space: ActionSpace,
    horizon: int,
    worth: Worth,
    seed: int = 1,
    warm: Actions | None = None,
    **chosen: Any,
) -> Driven:
    entry = PLANNERS[name]
    if name == "random_shooting":  # which has but one
        chosen.pop("iterations", None)
    planner = entry.plan(
        space,
        horizon,
        entry.options(**chosen),
        lambda iteration, shape: uniforms(seed, iteration, shape),
        warm,
    )
    tried, values = [next(planner)], []
    while True:
        candidates = tried[-1].copy()
        values.append(np.array(worth(candidates), np.float64))
        tried[-1] = candidates
        try:
            tried.append(planner.send(values[-1]))
        except StopIteration as stop:
            if name == "random_shooting":
                return Driven(stop.value, tried, values)
            return Driven(stop.value, tried[:-1], values[:-1], tried[-1], float(values[-1][0]))


@pytest.fixture(scope="session")
def drive() -> Callable[..., Driven]:
    """Runs a planner, by its name, to its end."""
    return _drive
