"""iCEM: what it adds to CEM."""

from typing import Any

import numpy as np
import pytest

from dreamserve.planning.icem import candidates_at
from dreamserve.spaces import ActionSpace, BoxSpace, DiscreteSpace

THREE = DiscreteSpace(n=3, names=("a", "b", "c"))
BOX = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))

everywhere = pytest.mark.parametrize("space", [THREE, BOX], ids=["Discrete", "Box"])


def waves(candidates: np.ndarray) -> np.ndarray:
    """Return values with many peaks, so that elites do not recur by chance."""
    flat = candidates.reshape(len(candidates), -1).astype(np.float64)
    return np.sin(7 * flat @ np.arange(1, flat.shape[1] + 1))


def times_tried(candidates: np.ndarray, sequence: np.ndarray) -> int:
    return sum(np.array_equal(candidate, sequence) for candidate in candidates)


@everywhere
def test_the_best_elites_stay_among_the_next_candidates(drive: Any, space: ActionSpace) -> None:
    few = {"candidates": 100, "elite_share": 0.2, "keep_share": 0.3, "iterations": 4}
    done = drive("icem", space, 15, waves, **few)
    for before, values, after in zip(done.tried, done.values, done.tried[1:], strict=False):
        best = before[np.argsort(-values, kind="stable")[:6]]
        assert all(times_tried(after, elite) >= 1 for elite in best)


def test_without_kept_elites_all_candidates_are_drawn_again(drive: Any) -> None:
    done = drive("icem", BOX, 15, waves, candidates=100, keep_share=0, iterations=3)
    assert not any(times_tried(done.tried[1], candidate) for candidate in done.tried[0])


def test_a_non_finite_candidate_is_never_kept(drive: Any) -> None:
    def worth(candidates: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(candidates)) == 17, 1.0, np.nan)

    few = {"candidates": 50, "elite_share": 0.5, "keep_share": 1, "iterations": 2}
    done = drive("icem", BOX, 15, worth, **few)
    kept = [times_tried(done.tried[1], candidate) for candidate in done.tried[0]]
    assert np.flatnonzero(kept) == 17


def test_candidates_get_fewer_but_never_fewer_than_twice_the_elites(drive: Any) -> None:
    assert [candidates_at(i, 100, 10, 2.0) for i in range(5)] == [100, 50, 25, 20, 20]
    few = {"candidates": 100, "elite_share": 0.1, "decay": 2, "iterations": 5}
    assert [len(tried) for tried in drive("icem", BOX, 3, waves, **few).tried] == [
        100,
        50,
        25,
        20,
        20,
    ]


def test_candidates_never_get_more() -> None:
    assert [candidates_at(i, 10, 8, 1.5) for i in range(3)] == [10, 10, 10]
    assert [candidates_at(i, 1, 2, 1.5) for i in range(3)] == [1, 1, 1]
    assert [candidates_at(i, 9, 2, 1.0) for i in range(3)] == [9, 9, 9]


@pytest.mark.parametrize("decay", [100, 100.0])
def test_decay_works_for_any_number_of_iterations(drive: Any, decay: float) -> None:
    done = drive("icem", BOX, 1, waves, candidates=5, decay=decay, iterations=500)
    assert len(done.tried[-1]) == 4


@everywhere
def test_actions_last_longer_with_greater_beta(drive: Any, space: ActionSpace) -> None:
    def restless(beta: float) -> float:
        (tried,) = drive("icem", space, 20, waves, noise_beta=beta, iterations=1).tried
        return float(np.abs(np.diff(tried, axis=1)).mean())

    assert restless(0) > 1.1 * restless(1) > 1.2 * restless(3)
