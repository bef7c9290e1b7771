"""What planners that learn share: elites or weights move the centre, and the centre is tried."""

from typing import Any

import numpy as np
import pytest

from dreamserve.spaces import BoxSpace, DiscreteSpace

THREE = DiscreteSpace(n=3, names=("a", "b", "c"))
BOX = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))
ELITES = ["cem", "icem"]

elitist = pytest.mark.parametrize("name", ELITES)


def near(target: Any) -> Any:
    return lambda candidates: -np.square(candidates - np.float32(target)).sum(axis=(1, 2))


@elitist
def test_the_mean_of_the_last_elites_is_tried_at_the_end(drive: Any, name: str) -> None:
    few = {"candidates": 40, "iterations": 3, "momentum": 0, "elite_share": 0.2}
    done = drive(name, BOX, 4, near([0.3, 2.0]), **few)
    elites = done.tried[2][np.argsort(-done.values[2])[:8]]
    np.testing.assert_allclose(done.final[0], elites.mean(axis=0), atol=1e-5)


@elitist
def test_the_most_likely_actions_are_tried_at_the_end(drive: Any, name: str) -> None:
    target = np.random.default_rng(0).integers(0, 3, 20)
    done = drive(name, THREE, 20, lambda c: -np.sum(c != target, axis=1))
    np.testing.assert_array_equal(done.final[0], target)


@elitist
def test_with_full_momentum_nothing_is_learnt(drive: Any, name: str) -> None:
    few = {"candidates": 300, "iterations": 4, "momentum": 1}
    done = drive(name, BOX, 4, near([1.0, 5.0]), **few)
    assert np.abs(done.tried[-1].mean(axis=0) - [0, 2.5]).max() < 0.5


@elitist
def test_two_elites_at_least_however_small_their_share(drive: Any, name: str) -> None:
    few = {"candidates": 40, "iterations": 3, "momentum": 0, "elite_share": 0}
    done = drive(name, BOX, 4, near([0.3, 2.0]), **few)
    elites = done.tried[2][np.argsort(-done.values[2])[:2]]
    np.testing.assert_allclose(done.final[0], elites.mean(axis=0), atol=1e-5)
