"""MPPI: the weights of candidates, and the resulting plans."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamserve.planning.mppi import weigh
from dreamserve.spaces import BoxSpace, DiscreteSpace

THREE = DiscreteSpace(n=3, names=("a", "b", "c"))
BOX = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))
VALUES = np.array([3.0, -1, 7, 2, 2, -40, 6.5, 0])

some_values = st.lists(st.integers(-1000, 1000), min_size=1, max_size=20)


def test_a_weight_falls_with_the_distance_to_the_best_in_units_of_the_median_distance() -> None:
    weights = weigh(np.array([10.0, 8, 6, 4, 2]), temperature=0.5)
    np.testing.assert_allclose(weights, np.exp([0, -1, -2, -3, -4]))


@given(some_values, st.floats(0.01, 100), st.integers(-(10**6), 10**6))
def test_a_constant_added_to_all_values_changes_no_weight(
    values: list[int], temperature: float, constant: int
) -> None:
    array = np.array(values, np.float64)
    added = weigh(array + constant, temperature)
    np.testing.assert_allclose(added, weigh(array, temperature), rtol=1e-9)


@given(some_values, st.floats(0.01, 100), st.integers(-60, 60))
def test_values_of_any_size_weigh_the_same(
    values: list[int], temperature: float, power: int
) -> None:
    array = np.array(values, np.float64)
    scaled = weigh(array * 10.0**power, temperature)
    np.testing.assert_allclose(scaled, weigh(array, temperature), rtol=1e-9, atol=1e-30)


@pytest.mark.parametrize("temperature", [0.001, 0.1, 1000])
def test_values_as_far_apart_as_floats_get_have_weights(temperature: float) -> None:
    huge = np.array([1.7e308, -1.7e308, -1.7e308, 0, 1.6e308])
    weights = weigh(huge, temperature)
    assert weights[0] == 1
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights, weigh(huge / 1e300, temperature), rtol=1e-9, atol=1e-30)
    assert weigh(np.array([0, -5e-324 * 8, -5e-324 * 8, -1e308]), temperature)[3] == 0


def test_a_better_value_never_weighs_less() -> None:
    weights = weigh(VALUES, 0.3)
    assert (np.diff(weights[np.argsort(VALUES)]) >= 0).all()
    assert weights[2] == weights.max() == 1


def test_the_higher_the_temperature_the_more_even_the_weights() -> None:
    totals = [weigh(VALUES, temperature).sum() for temperature in (0.001, 0.1, 1, 1000)]
    assert totals == sorted(totals)
    assert (totals[0], totals[-1]) == pytest.approx((1, len(VALUES)), rel=0.01)


def test_if_half_are_the_best_only_they_have_weight() -> None:
    np.testing.assert_array_equal(weigh(np.array([1.0, 1, 0]), 0.5), [1, 1, 0])
    np.testing.assert_array_equal(weigh(np.array([4.0]), 0.5), [1])


def test_a_non_finite_candidate_has_no_weight_and_does_not_change_the_others() -> None:
    lost = weigh(np.array([-np.inf, *VALUES, -np.inf]), 0.3)
    np.testing.assert_array_equal(lost, [0, *weigh(VALUES, 0.3), 0])
    np.testing.assert_array_equal(weigh(np.full(3, -np.inf), 0.3), [0, 0, 0])


def test_one_outlier_does_not_equalise_the_other_weights() -> None:
    plain, cliff = VALUES.copy(), VALUES.copy()
    cliff[5] = -1e9
    np.testing.assert_allclose(weigh(cliff, 0.3), weigh(plain, 0.3), atol=1e-9)


def test_the_last_weighted_mean_is_tried_at_the_end(drive: Any) -> None:
    def worth(candidates: np.ndarray) -> Any:
        return -np.square(candidates - np.float32([0.3, 2])).sum(axis=(1, 2))

    done = drive("mppi", BOX, 4, worth, candidates=40, iterations=3, temperature=0.3)
    mean = np.average(done.tried[2], axis=0, weights=weigh(done.values[2], 0.3))
    np.testing.assert_allclose(done.final[0], mean, atol=1e-5)


def test_the_first_deviation_and_the_minimum_are_those_of_the_options(drive: Any) -> None:
    def worth(candidates: np.ndarray) -> Any:
        return -np.square(candidates - np.float32([0.3, 2])).sum(axis=(1, 2))

    done = drive("mppi", BOX, 4, worth, candidates=2000, std=0.2, least_std=0.02, iterations=9)
    boldest = done.tried[0][:50]  # the others are ever less so
    np.testing.assert_allclose(boldest.std(axis=0).mean(axis=0), [0.2, 0.5], rtol=0.1)
    np.testing.assert_allclose(done.tried[-1].std(axis=0).mean(axis=0), [0.02, 0.05], rtol=0.05)
