"""Categoricals: sampling and fitting, for one choice or several."""

import numpy as np
import pytest

from dreamserve.engine.imagination.trajectories import uniforms
from dreamserve.planning.categorical import SMOOTHING, Categorical, Categoricals
from dreamserve.planning.coloured_noise import amplitudes, coloured
from dreamserve.planning.gaussian import normals
from dreamserve.spaces import MultiDiscreteSpace

WEIGHTS = np.array([[0.2, 0.3, 0.5], [0.01, 0.98, 0.01]])


def peaked() -> Categorical:
    family = Categorical(3, (2,), None)
    family.weights = WEIGHTS.copy()
    return family


def frequencies(actions: np.ndarray) -> np.ndarray:
    return np.stack([(actions == action).mean(axis=0) for action in range(3)], axis=-1)


def test_actions_are_drawn_with_their_probabilities() -> None:
    drawn = peaked().draw(uniforms(0, 0, (40_000, 2)))
    np.testing.assert_allclose(frequencies(drawn), WEIGHTS, atol=0.01)


def test_independent_scores_select_actions_with_their_probabilities() -> None:
    drawn = peaked().from_normals(normals(uniforms(0, 0, (40_000, 2, 3))))
    np.testing.assert_allclose(frequencies(drawn), WEIGHTS, atol=0.01)


def test_coloured_scores_keep_the_probabilities_and_make_actions_last() -> None:
    family = Categorical(3, (16,), None)
    family.weights[:] = WEIGHTS[0]
    white = normals(uniforms(0, 0, (20_000, 16, 3)))
    lasting = []
    for beta in (0, 1, 3):
        drawn = family.from_normals(coloured(white, amplitudes(16, beta)))
        np.testing.assert_allclose(frequencies(drawn), family.weights, atol=0.02)
        lasting.append(np.mean(drawn[:, 1:] == drawn[:, :-1]))
    assert lasting[0] == pytest.approx(np.square(WEIGHTS[0]).sum(), abs=0.01)
    assert lasting[0] + 0.1 < lasting[1] < lasting[2] - 0.1


def test_extreme_scores_still_select_actions() -> None:
    extreme = np.full((1, 2, 3), 50, np.float32)
    extreme[0, 0, 1] = extreme[0, 1, 2] = -50
    np.testing.assert_array_equal(peaked().from_normals(extreme), [[1, 2]])


def test_it_starts_uniform_or_with_half_of_the_probability_on_the_warm_plan() -> None:
    np.testing.assert_allclose(Categorical(4, (2,), None).weights, 1 / 4)
    warm = Categorical(4, (2,), np.array([3, 0])).weights
    np.testing.assert_allclose(warm, [[1 / 8, 1 / 8, 1 / 8, 5 / 8], [5 / 8, 1 / 8, 1 / 8, 1 / 8]])


def test_its_centre_is_the_most_likely_action_of_each_step() -> None:
    np.testing.assert_array_equal(peaked().centre(), [2, 1])


def test_it_moves_to_smoothed_frequencies() -> None:
    family = Categorical(3, (2,), None)
    family.fit(np.array([[0, 2], [0, 1], [0, 2]]), np.ones(3), momentum=0)
    counts = np.array([[3, 0, 0], [0, 1, 2]]) + SMOOTHING
    np.testing.assert_allclose(family.weights, counts / counts.sum(axis=1, keepdims=True))


def test_uneven_weights_count_like_fewer_even_ones() -> None:
    one, other = Categorical(3, (1,), None), Categorical(3, (1,), None)
    one.fit(np.array([[2]]), np.ones(1), momentum=0)
    other.fit(np.array([[2], [0], [1]]), np.array([7, 1e-12, 1e-12]), momentum=0)
    np.testing.assert_allclose(one.weights, other.weights)


def test_momentum_is_the_share_of_the_old_that_stays() -> None:
    new, mixed = peaked(), peaked()
    actions, weights = np.array([[0, 0], [1, 0]]), np.array([1.0, 2.0])
    new.fit(actions, weights, momentum=0)
    mixed.fit(actions, weights, momentum=0.3)
    np.testing.assert_allclose(mixed.weights, 0.3 * WEIGHTS + 0.7 * new.weights)


def test_zero_weights_change_nothing() -> None:
    family = peaked()
    for weights in (np.zeros(2), np.zeros(0)):
        family.fit(np.zeros((len(weights), 2), np.int64), weights, momentum=0)
    np.testing.assert_array_equal(family.weights, WEIGHTS)


def test_smoothing_keeps_every_action_possible() -> None:
    family = Categorical(3, (2,), None)
    for _ in range(50):
        family.fit(np.zeros((10, 2), np.int64), np.ones(10), momentum=0.1)
    assert (family.weights > 0.02).all()
    np.testing.assert_allclose(family.weights.sum(axis=1), 1)


SEVERAL = MultiDiscreteSpace(nvec=(3, 2, 3), names=("x", "y", "z"))


def test_each_component_has_a_categorical_of_its_own() -> None:
    warm = np.array([[2, 1, 0], [0, 0, 1]])
    family = Categoricals(SEVERAL, 2, warm)
    np.testing.assert_array_equal(family.centre(), warm)
    for drawn in (
        family.draw(uniforms(0, 0, (20_000, 2, 3))),
        family.from_normals(normals(uniforms(1, 0, (20_000, 2, family.normals)))),
    ):
        for component, n in enumerate(SEVERAL.nvec):
            expected = np.full((2, n), 1 / 2 / n)
            expected[np.arange(2), warm[:, component]] += 1 / 2
            shares = [(drawn[:, :, component] == choice).mean(axis=0) for choice in range(n)]
            np.testing.assert_allclose(np.stack(shares, axis=-1), expected, atol=0.02)


def test_components_are_fitted_as_if_each_were_alone() -> None:
    generator = np.random.default_rng(0)
    actions = generator.integers(0, SEVERAL.nvec, (50, 2, 3))
    weights, family = generator.random(50), Categoricals(SEVERAL, 2, None)
    family.fit(actions, weights, momentum=0.3)
    drawn = uniforms(3, 0, (9, 2, 3))
    for component, n in enumerate(SEVERAL.nvec):
        alone = Categorical(n, (2,), None)
        alone.fit(actions[:, :, component], weights, momentum=0.3)
        np.testing.assert_array_equal(family.centre()[:, component], alone.centre())
        expected = alone.draw(drawn[:, :, component])
        np.testing.assert_array_equal(family.draw(drawn)[:, :, component], expected)


def test_many_choices_are_drawn_as_few_are() -> None:
    """Few places with many choices, and many with few, take different loops."""
    many, numbers = Categorical(50, (4,), None), uniforms(0, 0, (200, 4))
    many.weights = np.random.default_rng(0).dirichlet(np.ones(50), 4)
    wide = Categorical(50, (4, 13), None)
    wide.weights = np.repeat(many.weights[:, None], 13, axis=1)
    drawn = wide.draw(np.repeat(numbers[..., None], 13, axis=2))
    np.testing.assert_array_equal(drawn, np.repeat(many.draw(numbers)[..., None], 13, axis=2))
