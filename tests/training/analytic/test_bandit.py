"""The bandit: one sample per candidate misleads, many do not."""

import numpy as np
import pytest

from dreamserve_training.evaluation.analytic import Bandit


def test_the_best_arm_is_that_of_the_largest_mean():
    bandit = Bandit(means=(1.0, 3.0, 2.0), sigmas=(1.0, 1.0, 4.0))
    best = bandit.best(horizon=3, discount=0.5)
    assert best.actions.tolist() == [1, 1, 1]
    assert best.value == 3 + 1.5 + 0.75
    assert bandit.value([0, 1, 2]) == 6


def test_the_highest_sampled_return_is_that_of_a_bad_plan(loaded, dreamt_values):
    """All paths of three pulls share their noise, which is drawn 400 times."""
    bandit, world = loaded("bandit")
    paths = np.indices((2, 2, 2)).reshape(3, -1).T
    dreamt = np.stack(
        [dreamt_values(world, paths, temperature=1.0, seed=seed) for seed in range(400)]
    )
    error = 4 * dreamt.std(axis=0) / np.sqrt(400)
    assert (np.abs(dreamt.mean(axis=0) - bandit.value(paths)) < error).all()
    assert paths[dreamt.mean(axis=0).argmax()].tolist() == bandit.best(3).actions.tolist()
    assert paths[dreamt.max(axis=0).argmax()].tolist() == [1, 1, 1]
    chosen = paths[dreamt.argmax(axis=1)].mean()  # if a single sample decides
    assert chosen == pytest.approx(0.4, abs=0.06)


def test_at_temperature_0_there_is_no_noise(loaded, dreamt_values):
    bandit, world = loaded("bandit")
    paths = np.indices((2, 2)).reshape(2, -1).T
    np.testing.assert_allclose(dreamt_values(world, paths), bandit.value(paths), atol=1e-6)
