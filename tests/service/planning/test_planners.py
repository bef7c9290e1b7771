"""Properties of every planner."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamserve.planning.catalog import PLANNERS
from dreamserve.spaces import (
    ActionSpace,
    BoxSpace,
    DiscreteSpace,
    MultiBinarySpace,
    MultiDiscreteSpace,
)

THREE = DiscreteSpace(n=3, names=("a", "b", "c"))
BOX = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))
SEVERAL = MultiDiscreteSpace(nvec=(3, 2, 3), names=("x", "y", "z"))
BINARY = MultiBinarySpace(n=3, names=("x", "y", "z"))
WARM = {
    THREE: np.array([2, 0, 2, 1]),
    BOX: np.float32([[-1, 5], [0.3, 2], [1, 0], [0.1, 0.1]]),
    SEVERAL: np.array([[2, 0, 1], [0, 1, 0], [2, 1, 2], [1, 0, 0]]),
    BINARY: np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1], [1, 0, 0]]),
}
LEARNERS = [name for name in PLANNERS if name != "random_shooting"]

every_planner = pytest.mark.parametrize("name", PLANNERS)
everywhere = pytest.mark.parametrize("space", WARM, ids=lambda space: space.type)
small = {
    "seed": st.integers(0, 1000),
    "candidates": st.integers(1, 30),
    "horizon": st.integers(1, 5),
    "iterations": st.integers(1, 4),
}


def total(candidates: np.ndarray) -> Any:
    """Return the sum of the actions, for any space."""
    return candidates.reshape(len(candidates), -1).sum(axis=1, dtype=np.float64)


def erratic(seed: int) -> Any:
    """Return a function of random integer values with ties and non-finite ones."""
    generator = np.random.default_rng(seed)
    choices = [*range(-3, 4), np.nan, np.inf, -np.inf]
    return lambda candidates: generator.choice(choices, len(candidates))


@every_planner
@everywhere
@settings(deadline=None)  # other work may slow this machine
@given(**small)
def test_every_proposed_action_is_in_the_space(
    drive: Any, name: str, space: ActionSpace, horizon: int, candidates: int, **rest: int
) -> None:
    worth = erratic(rest["seed"])
    done = drive(name, space, horizon, worth, candidates=candidates, **rest)
    for tried in [*done.tried, done.plan.actions[None]]:
        assert 1 <= len(tried) <= candidates
        assert tried.dtype == space.dtype
        space.check(tried, (len(tried), horizon))


@every_planner
@everywhere
@settings(deadline=None)  # other work may slow this machine
@given(**small)
def test_the_plan_is_the_first_of_the_best_that_were_tried(
    drive: Any, name: str, space: ActionSpace, horizon: int, seed: int, **rest: int
) -> None:
    done = drive(name, space, horizon, erratic(seed), seed=seed, **rest)
    last = [] if done.final is None else [done.final]
    values = np.concatenate([*done.values, *([done.final_value] for _ in last)])
    values[~np.isfinite(values)] = -np.inf
    assert done.plan.value == values.max()
    first = np.concatenate([*done.tried, *last])[values.argmax()]
    np.testing.assert_array_equal(done.plan.actions, first)
    assert done.plan.iterations == len(done.tried)


@every_planner
@everywhere
@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_a_non_finite_candidate_never_wins_and_is_not_learnt_from(
    drive: Any, name: str, space: ActionSpace, lost: float
) -> None:
    def worth(candidates: np.ndarray) -> np.ndarray:
        is_lost = (candidates >= most).any(axis=tuple(range(1, candidates.ndim)))
        return np.where(is_lost, lost, -9.0)

    most = 1.01 if isinstance(space, BoxSpace) else np.array(space.choice_counts) - 1
    done = drive(name, space, 2, worth, candidates=300, iterations=5)
    assert (done.plan.actions < most).all()
    assert done.plan.value == -9
    if name in LEARNERS:
        assert np.mean(np.isfinite(done.values[-1])) > np.mean(np.isfinite(done.values[0]))


@every_planner
@everywhere
@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_if_no_value_is_finite_the_plan_is_worth_minus_infinity_and_the_spread_stays(
    drive: Any, name: str, space: ActionSpace, lost: float
) -> None:
    done = drive(name, space, 3, lambda c: np.full(len(c), lost), candidates=300, iterations=3)
    assert done.plan.value == -np.inf
    np.testing.assert_array_equal(done.plan.actions, done.tried[0][0])
    spread = [candidates.std(axis=0).mean() for candidates in done.tried]
    assert spread[-1] > 0.9 * spread[0]


@every_planner
@everywhere
def test_the_same_numbers_give_the_same_plan(drive: Any, name: str, space: ActionSpace) -> None:
    one, same, other = (drive(name, space, 6, total, seed=s, candidates=50) for s in (1, 1, 2))
    for tried, again in zip(one.tried, same.tried, strict=True):
        np.testing.assert_array_equal(tried, again)
    assert one.plan.value == same.plan.value
    assert not np.array_equal(one.tried[0], other.tried[0])


@every_planner
@everywhere
@settings(deadline=None)  # other work may slow this machine
@given(**small)
def test_a_plan_is_worth_no_less_than_the_warm_one(
    drive: Any, name: str, space: ActionSpace, horizon: int, **rest: int
) -> None:
    warm = WARM[space][:horizon]
    done = drive(name, space, horizon, lambda c: -total(c), warm=warm, **rest)
    longer = np.concatenate([warm, np.repeat(warm[-1:], horizon - len(warm), axis=0)])
    assert any(np.array_equal(longer, candidate) for candidate in done.tried[0])
    assert done.plan.value >= -total(longer[None])[0]


@pytest.mark.parametrize("name", LEARNERS)
@everywhere
def test_the_search_starts_at_the_warm_plan(drive: Any, name: str, space: ActionSpace) -> None:
    warm = np.tile(WARM[space][:1], (20, *[1] * (WARM[space].ndim - 1)))
    cold, near = (drive(name, space, 20, total, warm=w, iterations=1) for w in (None, warm))
    away = [np.abs(done.tried[0] - warm).mean() for done in (cold, near)]
    assert away[1] < 0.7 * away[0]


@pytest.mark.parametrize("name", LEARNERS)
@everywhere
def test_candidates_get_better_with_the_iterations(
    drive: Any, name: str, space: ActionSpace
) -> None:
    done = drive(name, space, 20, total)
    means = np.array([values.mean() for values in done.values])
    assert (np.diff(means)[:5] > 0).all()


@every_planner
@everywhere
def test_the_smallest_problem_is_planned(drive: Any, name: str, space: ActionSpace) -> None:
    done = drive(name, space, 1, total, candidates=1, iterations=1)
    assert len(done.tried) == len(done.tried[0]) == len(done.plan.actions) == 1
    done = drive(name, space, 1, total, candidates=1, iterations=4, warm=WARM[space])
    assert done.plan.value >= total(WARM[space][None, :1])[0]


@every_planner
def test_a_space_with_one_action_gives_that_action(drive: Any, name: str) -> None:
    done = drive(name, DiscreteSpace(n=1, names=("on",)), 100, total, candidates=5, iterations=3)
    assert (done.plan.actions == 0).all()


@every_planner
@pytest.mark.parametrize(
    ("low", "high"), [(-3e38, 3e38), (-3.4e38, 1), (1, 1 + 2e-7), (1, 1 + 1e-12), (0, 1e-44)]
)
def test_the_widest_and_the_narrowest_bounds_are_respected(
    drive: Any, name: str, low: float, high: float
) -> None:
    space = BoxSpace(low=(low, -1.0), high=(high, 1.0), names=("odd", "usual"))
    done = drive(name, space, 4, total, candidates=200, iterations=5)
    for tried in done.tried:
        assert (np.float32(low) <= tried[..., 0]).all()
        assert (tried[..., 0] <= np.float32(high)).all()
    lowest, highest = done.tried[0][..., 0].min(), done.tried[0][..., 0].max()
    assert highest / 2 - lowest / 2 >= (np.float32(high) / 2 - np.float32(low) / 2) * 0.9


ODD = [  # bounds that are not those of papers
    ((-2.0,), (2.0,)),
    ((-1.0, 0.0, 0.0), (1.0, 1.0, 1.0)),  # steering and two pedals
    ((0.0,), (1e30,)),
    ((-1e9, 5.0), (-10.0, 5.5)),
]


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize(("low", "high"), ODD)
def test_the_best_action_is_found_on_either_bound_and_between(
    drive: Any, name: str, low: tuple[float, ...], high: tuple[float, ...]
) -> None:
    space = BoxSpace(low=low, high=high, names=tuple(f"x{i}" for i in range(len(low))))
    least, most = (np.array(bound, np.float64) for bound in (low, high))
    for share in (0.0, 1.0, 0.37):
        best = least + share * (most - least)

        def worth(candidates: np.ndarray, best: np.ndarray = best) -> np.ndarray:
            off = (candidates.astype(np.float64) - best) / (most - least)
            return -np.square(off).sum(axis=(1, 2))

        done = drive(name, space, 3, worth, candidates=100, iterations=20)
        space.check(done.plan.actions, (3,))
        off = np.abs(done.plan.actions - best) / (most - least)
        assert off.max() < 0.02
        if share != 0.37:
            assert np.mean(off < 1e-6) > 0.5  # on the bound itself


@every_planner
def test_where_all_actions_are_worth_the_same_none_is_preferred(drive: Any, name: str) -> None:
    space = BoxSpace(low=(0.0,), high=(1.0,), names=("gas",))
    done = drive(name, space, 200, lambda c: np.zeros(len(c)), candidates=50)
    assert 0 <= done.plan.actions.min() < 0.1
    assert 0.9 < done.plan.actions.max() <= 1
    assert done.plan.actions.std() > 0.2
