"""Planners alone: told values by a formula, no world in sight."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamserve.engine.futures import uniforms
from dreamserve.manifest import ActionSpace, BoxSpace, DiscreteSpace
from dreamserve.planning.base import Plan, Planner, uniform_actions
from dreamserve.planning.cem import Categorical, TruncatedGaussian, cem
from dreamserve.planning.random_shooting import random_shooting

THREE = DiscreteSpace(n=3, names=("a", "b", "c"))
BOX = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))


def seeded(seed: int) -> Any:
    return lambda iteration, shape: uniforms(seed, iteration, shape)


def drive(planner: Planner, worth: Any) -> tuple[Plan, list[np.ndarray]]:
    """Run a planner to its end; return its plan and all candidates it proposed."""
    proposed = [next(planner)]
    while True:
        try:
            proposed.append(planner.send(np.array([worth(c) for c in proposed[-1]], np.float64)))
        except StopIteration as stop:
            return stop.value, proposed


@pytest.mark.parametrize("space", [THREE, BOX])
def test_random_shooting_returns_the_best_it_tried(space: ActionSpace) -> None:
    plan, (tried,) = drive(random_shooting(space, 5, 40, seeded(1)), np.sum)
    assert plan.value == max(candidate.sum() for candidate in tried)
    assert plan.iterations == 1


@pytest.mark.parametrize("space", [THREE, BOX])
def test_cem_returns_the_best_it_tried_in_any_iteration(space: ActionSpace) -> None:
    plan, tried = drive(cem(space, 5, 40, 4, seeded(1)), np.sum)
    assert len(tried) == plan.iterations == 4
    assert plan.value == pytest.approx(max(c.sum() for some in tried for c in some))


def test_cem_gets_better_with_every_iteration() -> None:
    target = np.random.default_rng(0).integers(0, 3, 20)
    _, tried = drive(cem(THREE, 20, 100, 8, seeded(2)), lambda c: -np.sum(c != target))
    right = [np.mean(some == target) for some in tried]
    assert right[-1] > 0.9 > 0.4 > right[0]


def test_cem_closes_in_on_an_optimum_inside_and_on_the_bounds() -> None:
    for optimum in ([0.3, 2.0], [1.0, 0.0]):
        plan, _ = drive(
            cem(BOX, 3, 200, 10, seeded(3)),
            lambda c, optimum=optimum: -np.square(c - np.float32(optimum)).sum(),
        )
        width = np.subtract(BOX.high, BOX.low)
        assert (np.abs(plan.actions - optimum) < 0.06 * width).all()


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 5), st.integers(1, 4))
def test_every_proposed_action_is_in_the_space(
    seed: int, candidates: int, horizon: int, iterations: int
) -> None:
    def worth(candidate: np.ndarray) -> float:
        return float(np.square(candidate).sum())  # draws a Box's mean to its bounds

    _, tried = drive(cem(BOX, horizon, candidates, iterations, seeded(seed)), worth)
    for some in tried:
        assert (some.shape, some.dtype) == ((candidates, horizon, 2), np.float32)
        assert (some >= np.float32(BOX.low)).all()
        assert (some <= np.float32(BOX.high)).all()
    _, tried = drive(cem(THREE, horizon, candidates, iterations, seeded(seed)), worth)
    for some in tried:
        assert (some.shape, some.dtype) == ((candidates, horizon), np.int64)
        assert set(np.unique(some)) <= {0, 1, 2}


def test_a_candidate_worth_minus_infinity_is_no_elite_and_never_wins() -> None:
    def worth(candidate: np.ndarray) -> float:
        return -np.inf if 2 in candidate else -10.0 - candidate.sum()

    plan, tried = drive(cem(THREE, 3, 30, 5, seeded(4)), worth)
    assert 2 not in plan.actions
    assert np.mean(tried[-1] == 2) < 0.15


def test_all_candidates_lost_leave_the_distribution_and_say_so() -> None:
    plan, tried = drive(cem(THREE, 3, 300, 3, seeded(4)), lambda _: -np.inf)
    assert plan.value == -np.inf
    assert np.abs(np.bincount(tried[-1].ravel(), minlength=3) / tried[-1].size - 1 / 3).max() < 0.06


def test_smoothing_keeps_every_action_possible() -> None:
    family = Categorical(3, 2)
    for _ in range(50):
        family.fit(np.zeros((10, 2), np.int64))
    assert (family.weights > 0.02).all()
    np.testing.assert_allclose(family.weights.sum(axis=1), 1)


def test_a_truncated_gaussian_has_its_moments() -> None:
    family = TruncatedGaussian(BOX, 1)
    family.mean = np.array([[0.5, 2.0]], np.float32)
    family.std = np.array([[0.5, 0.5]], np.float32)
    drawn = family.draw(uniforms(0, 0, (40_000, 1, 2)))[:, 0]
    # x is N(0.5, 0.5²) cut to [-1, 1]; its moments are from scipy.stats.truncnorm
    np.testing.assert_allclose(drawn.mean(axis=0), [0.3586, 2.0], atol=0.01)
    np.testing.assert_allclose(drawn.std(axis=0), [0.3925, 0.5], atol=0.01)


def test_uniform_actions_reach_all_of_a_space_evenly() -> None:
    drawn = uniform_actions(THREE, uniforms(1, 0, (30_000,)))
    np.testing.assert_allclose(np.bincount(drawn) / 30_000, 1 / 3, atol=0.01)
    drawn = uniform_actions(BOX, uniforms(1, 0, (30_000, 2)))
    np.testing.assert_allclose(drawn.mean(axis=0), [0, 2.5], atol=0.05)
    np.testing.assert_allclose(drawn.max(axis=0), [1, 5], atol=0.01)
