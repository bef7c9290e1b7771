"""What planners share: what remains of a plan, the elites, what an even draw is."""

import numpy as np
import pytest

from dreamserve.engine.imagination.trajectories import uniforms
from dreamserve.planning.base import elite, fitted, shifted
from dreamserve.spaces import BoxSpace, DiscreteSpace, between

THREE = DiscreteSpace(n=3, names=("a", "b", "c"))
BOX = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))


def test_uniform_actions_reach_all_of_a_space_evenly() -> None:
    drawn = THREE.uniform(uniforms(1, 0, (30_000,)))
    np.testing.assert_allclose(np.bincount(drawn) / 30_000, 1 / 3, atol=0.01)
    drawn = BOX.uniform(uniforms(1, 0, (30_000, 2)))
    np.testing.assert_allclose(drawn.mean(axis=0), [0, 2.5], atol=0.05)
    np.testing.assert_allclose(drawn.max(axis=0), [1, 5], atol=0.01)


def test_a_uniform_that_rounded_to_one_is_still_an_action() -> None:
    assert THREE.uniform(np.ones(1, np.float32)) == 2
    np.testing.assert_array_equal(BOX.uniform(np.ones((1, 2), np.float32)), [[1, 5]])


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.3), (1e-3, 7.1), (-3e38, 3e38)])
def test_both_ends_are_met_exactly(low: float, high: float) -> None:
    ends = np.float32([low]), np.float32([high])
    np.testing.assert_array_equal(between(*ends, np.float32([[0], [1]])), np.stack(ends))


def test_a_shifted_plan_goes_on_where_it_was_and_repeats_its_last_action() -> None:
    plan = np.array([3, 1, 4, 5])
    np.testing.assert_array_equal(shifted(plan, 0), plan)
    np.testing.assert_array_equal(shifted(plan, 1), [1, 4, 5, 5])
    np.testing.assert_array_equal(shifted(plan, 3), [5, 5, 5, 5])
    box = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(shifted(box, 2), [[4, 5]] * 3)


def test_nothing_remains_of_a_plan_that_was_carried_out() -> None:
    assert shifted(np.array([3, 1]), 2) is None
    assert shifted(np.array([3, 1]), 100) is None


def test_a_plan_is_fitted_to_another_horizon() -> None:
    np.testing.assert_array_equal(fitted(np.array([0, 2, 1]), 2), [0, 2])
    np.testing.assert_array_equal(fitted(np.array([0, 2]), 4), [0, 2, 2, 2])
    box = fitted(np.array([[-1.0, 5.0], [0.5, 0.5]], np.float32), 3)
    np.testing.assert_array_equal(box, [[-1, 5], [0.5, 0.5], [0.5, 0.5]])
    assert box is not None
    assert box.dtype == np.float32
    assert fitted(None, 3) is fitted(np.array([], np.int64), 3) is None


def test_elites_are_the_best_in_order_and_the_first_of_equals() -> None:
    values = np.array([1.0, 5, -np.inf, 5, 2])
    np.testing.assert_array_equal(elite(values, 3), [1, 3, 4])
    np.testing.assert_array_equal(elite(values, 5), [1, 3, 4, 0])
    assert len(elite(np.full(4, -np.inf), 2)) == 0
