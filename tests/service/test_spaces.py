"""Action spaces: membership, and the actions of uniform numbers and scores."""

from typing import Any

import numpy as np
import pytest

from dreamserve.engine.imagination.trajectories import uniforms
from dreamserve.spaces import BoxSpace, DiscreteSpace, between
from dreamserve_protocol.errors import InvalidActionError, NotFiniteInputError

THREE = DiscreteSpace(n=3, names=("a", "b", "c"))
BOX = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))


def test_uniform_actions_cover_a_space_evenly() -> None:
    drawn = THREE.uniform(uniforms(1, 0, (30_000,)))
    np.testing.assert_allclose(np.bincount(drawn) / 30_000, 1 / 3, atol=0.01)
    drawn = BOX.uniform(uniforms(1, 0, (30_000, 2)))
    np.testing.assert_allclose(drawn.mean(axis=0), [0, 2.5], atol=0.05)
    np.testing.assert_allclose(drawn.max(axis=0), [1, 5], atol=0.01)


def test_a_uniform_that_rounded_to_one_is_still_an_action() -> None:
    assert THREE.uniform(np.ones(1, np.float32)) == 2
    np.testing.assert_array_equal(BOX.uniform(np.ones((1, 2), np.float32)), [[1, 5]])


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.3), (1e-3, 7.1), (-3e38, 3e38)])
def test_both_bounds_are_reached_exactly(low: float, high: float) -> None:
    ends = np.float32([low]), np.float32([high])
    np.testing.assert_array_equal(between(*ends, np.float32([[0], [1]])), np.stack(ends))


def test_actions_have_the_shape_and_dtype_of_their_space() -> None:
    assert (THREE.zeros(2, 5).shape, THREE.zeros(2).dtype) == ((2, 5), np.int64)
    assert (BOX.zeros(2, 5).shape, BOX.zeros(2).dtype) == ((2, 5, 2), np.float32)
    assert (THREE.width, BOX.width, THREE.uniforms, BOX.uniforms) == (3, 2, 1, 2)
    single = THREE.single(np.int64(2))
    assert (single, type(single)) == (2, int)
    row = np.ones((1, 2), np.float32)
    single = BOX.single(row[0])
    row[:] = 0
    assert single.tolist() == [1, 1]


def test_sequences_are_counted_up_to_the_largest_float() -> None:
    assert THREE.sequences(4) == 81
    assert THREE.sequences(10_000) == BOX.sequences(1) == np.inf


@pytest.mark.parametrize("kind", [int, np.int64, np.int8, np.uint16])
def test_any_integer_within_a_discrete_space_is_an_action(kind: type) -> None:
    action = THREE.check(kind(2))
    assert (action, type(action)) == (2, int)
    assert THREE.check([0, 2, 1], (3,)).tolist() == [0, 2, 1]


def test_the_bounds_of_a_box_are_in_it_as_float32_has_them() -> None:
    box = BoxSpace(low=(-0.1,), high=(0.3,), names=("x",))
    for bound in (-0.1, 0.3, np.float32(0.3)):
        assert box.check([bound]).dtype == np.float32
    with pytest.raises(InvalidActionError, match=r"x = 0\.30001 is not in Box"):
        box.check([0.30001])


@pytest.mark.parametrize(
    ("actions", "in_space"),
    [
        ([[0, 0], [2, 0], [0, 5], [0, -1e-3]], [True, False, True, False]),
        ([[np.nan, 0], [0, np.inf], [1e300, 0], [1, 5]], [False, False, False, True]),
    ],
)
def test_each_row_is_tested_separately_against_a_box(actions: Any, in_space: list[bool]) -> None:
    found, rows = BOX.check_rows(np.array(actions))
    assert rows.tolist() == in_space
    np.testing.assert_array_equal(found[rows], np.array(actions)[rows].astype(np.float32))
    for action, fits in zip(actions, in_space, strict=True):
        if not fits:
            with pytest.raises((InvalidActionError, NotFiniteInputError)):
                BOX.check(action)


@pytest.mark.parametrize("actions", [3, [1.5, 2], [[1]], ["a"], [True], [True, 2]])
def test_rows_of_another_kind_or_shape_are_refused_as_a_whole(actions: Any) -> None:
    with pytest.raises(InvalidActionError, match=r"Discrete\(3\)"):
        THREE.check_rows(actions)


def test_scores_become_the_argmax_or_values_within_the_bounds() -> None:
    scores = np.float32([[0, 2, 1], [1, 0, 1]])
    assert THREE.from_scores(scores, np.ones(2, np.bool_)).tolist() == [1, 0]
    scores = np.float32([[-1e9, 1e9], [0, 0], [np.nan, 1]])
    actions = BOX.from_scores(scores, np.array([True, True, False]))
    np.testing.assert_array_equal(actions, [[-1, 5], [0, 2.5], [0, 2.5]])
