"""The optimum of a linear-quadratic problem: computed in two ways, and proven by a third."""

import numpy as np
import pytest

from dreamserve_training.evaluation.analytic import quadratic, random_system
from dreamserve_training.evaluation.analytic.quadratic import Problem


def problem_of(world, horizon, discount=1.0):
    return Problem(world.a, world.b, world.q, world.r, horizon, discount)


@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_riccati_and_least_squares_agree_if_no_bound_is_active(seed, discount):
    world = random_system(seed, bound=10)
    problem = problem_of(world, 15, discount)
    matrix, target = quadratic.least_squares(problem, world.starts[0])
    found = quadratic.bounded(problem, matrix, target, world.low, world.high)
    np.testing.assert_allclose(found, quadratic.riccati(problem, world.starts[0]), atol=1e-9)


def test_the_least_squares_are_the_cost_of_the_whole_sequence():
    world = random_system(seed=3)
    actions = np.random.default_rng(0).uniform(-1, 1, (7, 2))
    matrix, target = quadratic.least_squares(problem_of(world, 7, 0.8), world.starts[1])
    residual = matrix @ actions.ravel() - target
    value = world.value(world.starts[1], actions, discount=0.8)
    assert -residual @ residual == pytest.approx(value, abs=1e-12)


def test_projected_gradient_finds_the_same_optimum():
    """Projected gradient shares only the cost with the active-set method."""
    world = random_system(seed=1, bound=0.25)
    start, horizon = world.starts[0], 10
    matrix, target = quadratic.least_squares(problem_of(world, horizon), start)
    actions = np.zeros(2 * horizon)
    rate = 1 / np.linalg.eigvalsh(matrix.T @ matrix).max()
    for _ in range(3000):
        actions = np.clip(actions - rate * matrix.T @ (matrix @ actions - target), -0.25, 0.25)
    best = world.best(start, horizon)
    assert (np.abs(best.actions) == 0.25).any()
    np.testing.assert_allclose(best.actions.ravel(), actions, atol=1e-7)


@pytest.mark.parametrize("bound", [10, 1, 0.25])
def test_the_gap_bounds_the_suboptimality_of_any_sequence(bound):
    world = random_system(seed=2, bound=bound)
    start, rng = world.starts[0], np.random.default_rng(0)
    best = world.best(start, 8)
    assert 0 <= best.gap < 1e-9
    matrix, target = quadratic.least_squares(problem_of(world, 8), start)
    for actions in rng.uniform(-bound, bound, (50, 8, 2)):
        slope = 2 * matrix.T @ (matrix @ actions.ravel() - target)
        gap = quadratic.duality_gap(slope.reshape(8, 2), actions, world.low, world.high)
        assert best.value - world.value(start, actions) <= gap


def test_an_optimum_that_cannot_be_proven_is_not_returned(monkeypatch):
    world = random_system(seed=0, bound=0.25)
    monkeypatch.setattr(quadratic, "bounded", lambda problem, *_: np.zeros((problem.horizon, 2)))
    with pytest.raises(ArithmeticError, match="the duality gap is"):
        world.best(world.starts[0], 5)
