"""If there are few sequences, any planner tries them all."""

from typing import Any

import numpy as np
import pytest

from dreamserve.planning.catalog import PLANNERS
from dreamserve.spaces import BoxSpace, DiscreteSpace, MultiBinarySpace, MultiDiscreteSpace

THREE = DiscreteSpace(n=3, names=("a", "b", "c"))
every_planner = pytest.mark.parametrize("name", PLANNERS)


def worth(actions: np.ndarray) -> np.ndarray:
    return -np.abs(actions @ [27, 9, 3, 1] - 50)


@every_planner
def test_all_are_tried_at_once_if_there_are_no_more_than_candidates(ask: Any, name: str) -> None:
    candidates = {"candidates": 81} if name == "random_shooting" else {"candidates": 21}
    done = ask(name, THREE, 4, worth, **candidates)
    (tried,) = done.tried
    np.testing.assert_array_equal(np.sort(tried @ [27, 9, 3, 1]), np.arange(81))
    assert (done.plan.value, done.plan.iterations) == (0, 1)
    assert done.plan.actions @ [27, 9, 3, 1] == 50


@every_planner
def test_all_combinations_of_components_are_tried(ask: Any, name: str) -> None:
    space = MultiDiscreteSpace(nvec=(3, 2), names=("move", "fire"))
    candidates = {"candidates": 36} if name == "random_shooting" else {"candidates": 9}
    done = ask(name, space, 2, lambda c: c[:, 0, 0] + c[:, 1, 1] - c[:, 0, 1], **candidates)
    (tried,) = done.tried
    np.testing.assert_array_equal(np.sort(tried.reshape(36, 4) @ [12, 6, 2, 1]), np.arange(36))
    assert done.plan.value == 3
    assert (done.plan.actions[0].tolist(), done.plan.actions[1, 1]) == ([2, 0], 1)
    binary = MultiBinarySpace(n=3, names=tuple("abc"))
    (tried,) = ask(name, binary, 1, lambda c: np.ones(len(c)), candidates=8).tried
    np.testing.assert_array_equal(np.sort(tried.reshape(8, 3) @ [4, 2, 1]), np.arange(8))


@every_planner
@pytest.mark.parametrize("count", range(1, 12))
def test_of_any_number_of_choices_all_are_tried(ask: Any, name: str, count: int) -> None:
    space = DiscreteSpace(n=count, names=tuple(f"a{i}" for i in range(count)))
    (tried,) = ask(name, space, 2, lambda c: np.ones(len(c)), candidates=count**2).tried
    np.testing.assert_array_equal(np.sort(tried @ [count, 1]), np.arange(count**2))


@every_planner
def test_among_equal_plans_the_first_of_all_sequences_wins(ask: Any, name: str) -> None:
    done = ask(name, THREE, 3, lambda c: c[:, 0] == 1, candidates=99)
    np.testing.assert_array_equal(done.plan.actions, [1, 0, 0])


@every_planner
def test_no_more_sequences_are_tried_than_requested(ask: Any, name: str) -> None:
    chosen = (
        {"candidates": 80} if name == "random_shooting" else {"candidates": 8, "iterations": 10}
    )
    assert sum(map(len, ask(name, THREE, 4, worth, **chosen).tried)) <= 80 + 1


@every_planner
def test_among_equal_plans_the_warm_one_wins(ask: Any, name: str) -> None:
    warm = np.array([2, 0, 1])
    done = ask(name, THREE, 3, lambda c: np.ones(len(c)), candidates=99, warm=warm)
    np.testing.assert_array_equal(done.plan.actions, warm)


@every_planner
def test_non_finite_values_never_win(ask: Any, name: str) -> None:
    def lost(actions: np.ndarray) -> np.ndarray:
        return np.where(actions[:, 0] == 1, 5.0, np.nan)

    done = ask(name, THREE, 2, lost, candidates=9)
    np.testing.assert_array_equal(done.plan.actions, [1, 0])
    assert ask(name, THREE, 2, lambda c: np.full(9, np.nan), candidates=9).plan.value == -np.inf


@every_planner
def test_box_actions_are_never_enumerated(ask: Any, name: str) -> None:
    box = BoxSpace(low=(0.0,), high=(1.0,), names=("x",))
    assert len(ask(name, box, 1, lambda c: c[:, 0, 0], candidates=7).tried[0]) == 7
