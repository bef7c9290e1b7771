"""With default options, planners come within 1 % of the optimum.

The optimum is known for parabolas, a double integrator (by least squares within bounds), and trees
small enough to enumerate. Random shooting finds the best leaf, but does not come that near with
continuous actions; what it achieves there is tested, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from dreamserve.engine.imagination.trajectories import uniforms
from dreamserve.planning.base import sequence_shape
from dreamserve.planning.catalog import PLANNERS
from dreamserve.spaces import ActionSpace, BoxSpace, DiscreteSpace

SEEDS = range(10)
LEARNERS = [name for name in PLANNERS if name != "random_shooting"]


@dataclass(frozen=True)
class Problem:
    """The value of sequences, and the optimum."""

    space: ActionSpace
    horizon: int
    worth: Callable[[np.ndarray], np.ndarray]
    best: float

    def at_random(self) -> float:
        """Return the mean value of random sequences."""
        shape = sequence_shape(self.space, 4000, self.horizon)
        return float(self.worth(self.space.uniform(uniforms(99, 0, shape))).mean())

    def share(self, value: float) -> float:
        """Return a value's share of the gain from random to optimal."""
        random = self.at_random()
        return (value - random) / (self.best - random)

    def gap(self, value: float) -> float:
        """Return the relative gap between a value and the optimum."""
        return abs(self.best - value) / abs(self.best)


def parabola(seed: int, on_bounds: bool) -> Problem:
    """Ten steps of two components, with a target each, half of them on the bounds."""
    generator = np.random.default_rng(seed)
    target = generator.uniform(-0.8, 0.8, (10, 2))
    if on_bounds:
        target = np.where(generator.random((10, 2)) < 0.5, np.sign(target), target)
    space = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))
    scaled = target * [1, 2.5] + [0, 2.5]
    return Problem(space, 10, lambda c: -np.square((c - scaled) / [1, 2.5]).sum(axis=(1, 2)), 0.0)


def double_integrator(
    horizon: int, bound: float, dt: float, effort: float, speed: float = 0.0
) -> Problem:
    """Move a mass from 1 to 0 and stop: squared costs of position, velocity and effort."""
    step, push = np.array([[1, dt], [0, 1]]), np.array([dt * dt / 2, dt])
    cost = np.diag([1, 0.3])
    moved, drift = np.zeros((2, horizon)), np.array([1.0, speed])  # state: moved @ actions + drift
    rows, rest = [np.sqrt(effort) * np.eye(horizon)], [np.zeros(horizon)]
    for time in range(horizon):
        moved, drift = step @ moved, step @ drift
        moved[:, time] += push
        rows.append(cost @ moved)
        rest.append(cost @ drift)
    matrix, offset = np.concatenate(rows), np.concatenate(rest)

    def worth(candidates: np.ndarray) -> np.ndarray:
        return -np.square(candidates[..., 0].astype(np.float64) @ matrix.T + offset).sum(axis=1)

    space = BoxSpace(low=(-bound,), high=(bound,), names=("push",))
    optimum = lsq_linear(matrix, -offset, (-bound, bound), tol=1e-12).x
    return Problem(space, horizon, worth, float(worth(optimum[None, :, None])[0]))


def tree(rewards: list[np.ndarray]) -> Problem:
    """A tree of three branches; rewards[t] has one for each path of t + 1 branches (3^(t + 1),)."""
    horizon = len(rewards)

    def worth(candidates: np.ndarray) -> np.ndarray:
        place, value = np.zeros(len(candidates), np.int64), np.zeros(len(candidates))
        for step, reward in enumerate(rewards):
            place = 3 * place + candidates[:, step]
            value += reward[place]
        return value

    leaves = np.indices((3,) * horizon).reshape(horizon, -1).T
    space = DiscreteSpace(n=3, names=("a", "b", "c"))
    return Problem(space, horizon, worth, float(worth(leaves).max()))


def random_tree(seed: int) -> Problem:
    generator = np.random.default_rng(seed)
    return tree([generator.normal(size=3 ** (step + 1)) for step in range(6)])


def deceptive_tree(seed: int) -> Problem:
    """Immediate rewards mislead: the best leaf is below another branch."""
    generator = np.random.default_rng(seed)
    rewards = [0.1 * generator.normal(size=3 ** (step + 1)) for step in range(6)]
    rewards[0] += [1, 0, 0]
    rewards[5][3**5 + generator.integers(3**5)] += 3
    return tree(rewards)


def tree_with_an_end(seed: int) -> Problem:
    """Branch c ends the episode without further rewards; continuing costs more and more."""
    generator = np.random.default_rng(seed)
    rewards, ended = [], np.zeros(1, bool)
    for step in range(6):
        before, ends = np.repeat(ended, 3), np.tile([False, False, True], 3**step)
        going_on = generator.normal(size=3 ** (step + 1)) + 0.5 - 0.5 * step
        rewards.append(np.where(before, 0, np.where(ends, 1, going_on)))
        ended = before | ends
    return tree(rewards)


INTEGRATORS = {
    "15 steps, bounds far": double_integrator(15, 2.5, 0.2, 0.1),
    "15 steps, bounds ten times as far": double_integrator(15, 25, 0.2, 0.1),
    "15 steps, bounds in the way": double_integrator(15, 0.5, 0.2, 0.1, speed=0.3),
    "20 steps, bounds far": double_integrator(20, 2.5, 0.1, 0.05),
    "20 steps, bounds in the way": double_integrator(20, 0.5, 0.2, 0.1, speed=0.5),
}
integrators = pytest.mark.parametrize("problem", INTEGRATORS.values(), ids=INTEGRATORS)


def values(drive: Any, name: str, problem: Problem, seeds: range = SEEDS) -> np.ndarray:
    plans = [drive(name, problem.space, problem.horizon, problem.worth, seed=s).plan for s in seeds]
    return np.array([plan.value for plan in plans])


@pytest.mark.parametrize("name", LEARNERS)
@integrators
def test_a_double_integrator_is_brought_to_rest(drive: Any, name: str, problem: Problem) -> None:
    assert max(map(problem.gap, values(drive, name, problem))) < 0.01


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("on_bounds", [False, True])
def test_an_optimum_is_found_inside_and_on_the_bounds(
    drive: Any, name: str, on_bounds: bool
) -> None:
    for seed in SEEDS:
        problem = parabola(seed, on_bounds)
        (value,) = values(drive, name, problem, range(seed, seed + 1))
        assert problem.share(value) > 0.99


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("grow", [random_tree, deceptive_tree, tree_with_an_end])
def test_the_best_leaf_of_a_tree_is_found(
    ask: Any, name: str, grow: Callable[[int], Problem]
) -> None:
    for seed in SEEDS:
        problem = grow(seed)
        assert values(ask, name, problem, range(seed, seed + 1)) == problem.best


@pytest.mark.parametrize("name", LEARNERS)
def test_a_long_sequence_of_right_actions_is_found_among_billions(drive: Any, name: str) -> None:
    right = np.random.default_rng(0).integers(0, 3, 20)
    space = DiscreteSpace(n=3, names=("a", "b", "c"))
    problem = Problem(space, 20, lambda c: np.sum(c == right, axis=1), best=20.0)
    np.testing.assert_array_equal(values(drive, name, problem), 20)


def test_random_shooting_is_enough_for_two_numbers(drive: Any) -> None:
    problem = double_integrator(2, 0.5, 0.5, 0.1, speed=0.3)
    assert max(map(problem.gap, values(drive, "random_shooting", problem))) < 0.01


@integrators
def test_random_shooting_is_far_better_than_random_but_not_near_the_optimum(
    drive: Any, problem: Problem
) -> None:
    reached = values(drive, "random_shooting", problem)
    assert min(map(problem.share, reached)) > 0.6
    assert min(map(problem.gap, reached)) > 0.1
