"""What planners share: plans of another length, and the elites."""

import numpy as np

from dreamserve.planning.base import elite, resized


def test_a_plan_is_fitted_to_another_horizon() -> None:
    np.testing.assert_array_equal(resized(np.array([0, 2, 1]), 2), [0, 2])
    np.testing.assert_array_equal(resized(np.array([0, 2]), 4), [0, 2, 2, 2])
    box = resized(np.array([[-1.0, 5.0], [0.5, 0.5]], np.float32), 3)
    np.testing.assert_array_equal(box, [[-1, 5], [0.5, 0.5], [0.5, 0.5]])
    assert box is not None
    assert box.dtype == np.float32
    assert resized(None, 3) is resized(np.array([], np.int64), 3) is None


def test_elites_are_the_best_in_order_and_the_first_of_equals() -> None:
    values = np.array([1.0, 5, -np.inf, 5, 2])
    np.testing.assert_array_equal(elite(values, 3), [1, 3, 4])
    np.testing.assert_array_equal(elite(values, 5), [1, 3, 4, 0])
    assert len(elite(np.full(4, -np.inf), 2)) == 0
