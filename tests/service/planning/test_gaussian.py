"""Gaussians for Box actions: sampling and fitting."""

import numpy as np
import pytest

from dreamserve.engine.imagination.trajectories import uniforms
from dreamserve.planning.gaussian import Gaussian, normals
from dreamserve.spaces import BoxSpace

BOX = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))


def test_normals_are_standard() -> None:
    drawn = normals(uniforms(0, 0, (200_000,)))
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 1], atol=0.01)
    assert normals(np.ones(1, np.float32)) == normals(np.float32([0.999999])) > 4


def test_deviations_are_in_units_of_half_the_bounds_range() -> None:
    family = Gaussian(BOX, 1, None, std=0.2, least_std=0)
    family.fits = 99
    drawn = family.draw(uniforms(0, 0, (40_000, 1, 2)))[:, 0]
    np.testing.assert_allclose(drawn.mean(axis=0), [0, 2.5], atol=0.02)
    np.testing.assert_allclose(drawn.std(axis=0), [0.2, 0.5], atol=0.01)


def test_a_clipped_gaussian_has_its_moments_and_meets_its_bounds() -> None:
    family = Gaussian(BOX, 1, np.float32([[0.5, 2.5]]), std=0.5, least_std=0)
    family.fits = 99
    x = family.draw(uniforms(0, 0, (40_000, 1, 2)))[:, 0, 0]
    # of N(0.5, 0.5²): beyond 1 lies P(Z > 1), and E[min(Z, 1)] = -0.0833
    assert np.mean(x == 1) == pytest.approx(0.1587, abs=0.01)
    assert x.mean() == pytest.approx(0.5 - 0.5 * 0.0833, abs=0.01)


def test_before_the_first_fit_candidates_have_decreasing_deviations() -> None:
    family = Gaussian(BOX, 5, None, std=0.2, least_std=0)
    drawn = family.draw(uniforms(0, 0, (8000, 5, 2)))
    deviations = [part[..., 0].std() for part in np.split(drawn, 80)]
    assert np.corrcoef(np.log(deviations), np.arange(80))[0, 1] < -0.99
    assert deviations[0] == pytest.approx(0.2, rel=0.1)
    assert deviations[-1] == pytest.approx(0.2 / 2**6.5, rel=0.1)


def test_after_fits_the_range_of_deviations_narrows() -> None:
    family, ratios = Gaussian(BOX, 5, None, std=0.2, least_std=0), []
    for iteration in range(5):
        drawn = family.draw(uniforms(iteration, 0, (8000, 5, 2)))
        first, last = (part[..., 0].std() for part in (drawn[:100], drawn[-100:]))
        assert last / 2 < 0.2 < 2 * first if iteration else first == pytest.approx(0.2, rel=0.1)
        ratios.append(first / last)
        family.fit(drawn, np.ones(8000), momentum=1)
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] == pytest.approx(1, abs=0.2)


def test_bounds_are_met_exactly_even_where_float32_rounds() -> None:
    odd = BoxSpace(low=(-0.1, 1e-3), high=(0.3, 7.1), names=("x", "y"))
    drawn = Gaussian(odd, 1, None, std=10, least_std=0).draw(uniforms(0, 0, (100, 1, 2)))
    np.testing.assert_array_equal(drawn.min(axis=(0, 1)), np.float32(odd.low))
    np.testing.assert_array_equal(drawn.max(axis=(0, 1)), np.float32(odd.high))


def test_it_starts_at_the_warm_plan_or_between_the_bounds() -> None:
    warm = np.float32([[0.3, 4], [-1, 5]])
    np.testing.assert_allclose(Gaussian(BOX, 2, warm, 1, 0).centre(), warm, rtol=1e-6)
    np.testing.assert_allclose(Gaussian(BOX, 2, None, 1, 0).centre(), [[0, 2.5]] * 2)


def test_it_moves_to_the_weighted_mean_and_the_deviation_from_the_old_one() -> None:
    family = Gaussian(BOX, 1, np.float32([[0, 1]]), std=1, least_std=0)
    family.fit(np.float32([[[-1, 0]], [[1, 4]]]), np.array([1.0, 3.0]), momentum=0)
    np.testing.assert_allclose(family.centre(), [[0.5, 3]], rtol=1e-6)
    np.testing.assert_allclose(family.std, [[1 / 2, 7**0.5 / 5]], rtol=1e-6)  # of the width


def test_momentum_is_the_share_of_the_old_that_stays() -> None:
    family = Gaussian(BOX, 1, np.float32([[1, 5]]), std=1, least_std=0)
    family.fit(np.float32([[[-1, 0]]]), np.ones(1), momentum=0.25)
    np.testing.assert_allclose(family.centre(), [[-0.5, 1.25]], rtol=1e-6)
    np.testing.assert_allclose(family.std, [[0.875, 0.875]], rtol=1e-6)


def test_its_deviation_never_falls_below_the_minimum() -> None:
    family = Gaussian(BOX, 1, np.float32([[0.5, 1]]), std=1, least_std=0.1)
    family.fit(np.float32([[[0.5, 1]]] * 4), np.ones(4), momentum=0)
    np.testing.assert_allclose(family.std, 0.05)


def test_zero_weights_change_nothing() -> None:
    family = Gaussian(BOX, 1, None, std=1, least_std=0)
    for weights in (np.zeros(2), np.zeros(0)):
        family.fit(np.ones((len(weights), 1, 2), np.float32), weights, momentum=0)
    np.testing.assert_allclose(family.centre(), [[0, 2.5]])


def test_it_learns_within_bounds_whose_range_overflows_float32() -> None:
    wide = BoxSpace(low=(-3e38,), high=(3e38,), names=("x",))
    family = Gaussian(wide, 1, None, std=10, least_std=0)
    assert np.isfinite(family.draw(uniforms(0, 0, (100, 1, 1)))).all()
    family.fit(np.float32([[[2e38]], [[3e38]]]), np.ones(2), momentum=0)
    np.testing.assert_allclose(family.centre(), 2.5e38, rtol=1e-6)
