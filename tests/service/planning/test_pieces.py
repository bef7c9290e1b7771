"""Planners compute whatever grows with their candidates in pieces, which change no result."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from dreamserve.engine.imagination.trajectories import uniforms
from dreamserve.planning import base
from dreamserve.planning.catalog import PLANNERS
from dreamserve.planning.exhaustive import exhaustive
from dreamserve.spaces import ActionSpace, BoxSpace, DiscreteSpace

THREE = DiscreteSpace(n=3, names=("a", "b", "c"))
BOX = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))
every_planner = pytest.mark.parametrize("name", PLANNERS)
everywhere = pytest.mark.parametrize("space", [THREE, BOX], ids=["Discrete", "Box"])


def waves(candidates: np.ndarray) -> np.ndarray:
    flat = candidates.reshape(len(candidates), -1).astype(np.float64)
    return np.sin(7 * flat @ np.arange(1, flat.shape[1] + 1))


@pytest.mark.parametrize(("count", "numbers"), [(1, 1), (7, 3), (10, 100), (100, 9), (5, 10**9)])
def test_pieces_cover_all_rows_and_are_bounded(
    monkeypatch: pytest.MonkeyPatch, count: int, numbers: int
) -> None:
    monkeypatch.setattr(base, "NUMBERS_AT_ONCE", 32)
    cut = list(base.pieces(count, numbers))
    assert [row for rows in cut for row in range(rows.start, rows.stop)] == list(range(count))
    assert all((rows.stop - rows.start) * numbers <= max(32, numbers) for rows in cut)


@every_planner
@everywhere
def test_pieces_of_any_size_give_the_same_candidates(
    drive: Any, monkeypatch: pytest.MonkeyPatch, name: str, space: ActionSpace
) -> None:
    def run(numbers: int) -> Any:
        monkeypatch.setattr(base, "NUMBERS_AT_ONCE", numbers)
        return drive(name, space, 7, waves, candidates=40, iterations=4)

    whole = run(10**9)
    for numbers in (1, 50, 333):
        cut = run(numbers)
        for one, other in zip(whole.tried, cut.tried, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
        assert cut.plan.value == pytest.approx(whole.plan.value, rel=1e-5)


def test_exhaustive_search_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    warm = np.array([2, 1, 0, 2])
    (whole,) = list(next(exhaustive(THREE, 4, warm))[None])
    monkeypatch.setattr(base, "NUMBERS_AT_ONCE", 40)
    planner = exhaustive(THREE, 4, warm)
    pauses = 0
    while (actions := next(planner)) is None:
        pauses += 1
    assert pauses == 8
    np.testing.assert_array_equal(actions, whole)


@every_planner
@everywhere
def test_no_piece_draws_more_than_its_share_or_one_candidate(name: str, space: ActionSpace) -> None:
    drawn: list[int] = []

    def uniform(iteration: int, shape: tuple[int, ...], first: int) -> Any:
        drawn.append(int(np.prod(shape)))
        return uniforms(1, iteration, shape, first)

    fields = {} if name == "random_shooting" else {"iterations": 2}
    options = PLANNERS[name].options(candidates=40, **fields)
    planner, given = PLANNERS[name].plan(space, 3000, options, uniform, None), None
    tracemalloc.start()
    for _ in range(200):
        try:
            proposed = planner.send(given)
        except StopIteration:
            break
        given = None if proposed is None else waves(proposed)
    else:
        pytest.fail("the planner does not end")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(drawn) <= base.NUMBERS_AT_ONCE
    assert len(drawn) >= 8
    assert peak_bytes < 12e6  # a matrix of 3000 x 3000 float32 would be 36 MB


def test_uniforms_may_be_drawn_from_any_index_on() -> None:
    whole = uniforms(3, 5, (101,))
    for first, count in ((0, 1), (1, 1), (1, 2), (2, 99), (7, 33), (100, 1)):
        part = uniforms(3, 5, (count,), first)
        np.testing.assert_array_equal(part, whole[first : first + count])
