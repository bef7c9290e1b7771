"""Action spaces: membership, and the actions of uniform numbers and scores."""

from typing import Any

import numpy as np
import pytest

from dreamserve.engine.imagination.trajectories import uniforms
from dreamserve.spaces import (
    ActionSpace,
    BoxSpace,
    DiscreteSpace,
    MultiBinarySpace,
    MultiDiscreteSpace,
    between,
)
from dreamserve_protocol.errors import InvalidActionError, NotFiniteInputError

THREE = DiscreteSpace(n=3, names=("a", "b", "c"))
BOX = BoxSpace(low=(-1.0, 0.0), high=(1.0, 5.0), names=("x", "y"))
NAMED = ("back", "stay", "forth"), ("no", "yes")
SEVERAL = MultiDiscreteSpace(nvec=(3, 2), names=("move", "fire"), choices=NAMED)
BINARY = MultiBinarySpace(n=3, names=("jump", "duck", "fire"))


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


def test_scores_of_the_widest_box_do_not_overflow() -> None:
    box = BoxSpace(low=(-3e38,), high=(3e38,), names=("x",))
    actions = box.from_scores(np.float32([[-1e9], [0], [1e9]]), np.ones(3, np.bool_))
    np.testing.assert_array_equal(actions, np.float32([[-3e38], [0], [3e38]]))


def test_the_largest_float32_stays_itself() -> None:
    most = float(np.finfo(np.float32).max)
    box = BoxSpace(low=(0.0,), high=(most,), names=("x",))
    assert box.check([most]) == np.float32(most)
    with pytest.raises(InvalidActionError, match="not in Box"):
        box.check([3.5e38])
    with pytest.raises(ValueError, match="bounds must be float32 numbers"):
        BoxSpace(low=(0.0,), high=(1e39,), names=("x",))


def test_several_choices_are_integers_in_a_row() -> None:
    for space, width, sequences in ((SEVERAL, 5, 36), (BINARY, 3, 64)):
        assert (space.shape, space.dtype) == ((len(space.names),), np.int64)
        assert space.uniforms == len(space.names)
        assert (space.width, space.sequences(2)) == (width, sequences)
    assert SEVERAL.check([2, 1]).tolist() == [2, 1]
    assert SEVERAL.check(np.uint8([[0, 0], [2, 1]]), (2,)).dtype == np.int64
    actions, rows = SEVERAL.check_rows([[0, 0], [3, 0], [2, 1], [0, -1]])
    assert rows.tolist() == [True, False, True, False]
    assert actions[rows].tolist() == [[0, 0], [2, 1]]


def test_errors_name_the_choices() -> None:
    with pytest.raises(InvalidActionError) as error:
        SEVERAL.check([0, 2])
    assert error.value.detail == (
        "fire = 2 is not in MultiDiscrete([3, 2]):"
        " move (0 back, 1 stay, 2 forth), fire (0 no, 1 yes)"
    )
    unnamed = MultiDiscreteSpace(nvec=(3, 2), names=("move", "fire"))
    assert str(unnamed) == "MultiDiscrete([3, 2]): move 0 to 2, fire 0 to 1"
    with pytest.raises(
        InvalidActionError, match=r"duck = 2 is not in MultiBinary\(3\): jump 0 or 1"
    ):
        BINARY.check([0, 2, 0])


def test_an_error_names_some_of_very_many_actions() -> None:
    many = DiscreteSpace(n=5000, names=("a name",) * 5000)
    with pytest.raises(InvalidActionError, match=r"63 a name, …$"):
        many.check(5000)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nvec": (3, 2), "names": ("a",)}, "2 components but 1 names"),
        ({"nvec": (3, 0), "names": ("a", "b")}, "greater than or equal to 1"),
        ({"nvec": (), "names": ()}, "at least 1 item"),
        ({"nvec": (40_000, 40_000), "names": ("a", "b")}, "adds up to 80000, at most 65536"),
        (
            {"nvec": (2,), "names": ("a",), "choices": (("x",),)},
            r"choices has \[1\] names for nvec",
        ),
        ({"n": 2, "names": ("a",)}, "2 components but 1 names"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    kind = MultiBinarySpace if "n" in fields else MultiDiscreteSpace
    with pytest.raises(ValueError, match=message):
        kind(**fields)


def test_uniform_choices_are_even_and_never_beyond_the_last() -> None:
    drawn = SEVERAL.uniform(uniforms(1, 0, (30_000, 2)))
    for component, n in enumerate(SEVERAL.nvec):
        shares = np.bincount(drawn[:, component]) / 30_000
        np.testing.assert_allclose(shares, 1 / n, atol=0.01)
    assert SEVERAL.uniform(np.ones((1, 2), np.float32)).tolist() == [[2, 1]]


def test_each_component_takes_its_best_choice() -> None:
    scores = np.float32([[0, 2, 1, 5, 5], [1, 0, 1, -2, -1], [np.nan, 1, 0, 0, 0]])
    actions = SEVERAL.from_scores(scores, np.array([True, True, False]))
    assert actions[:2].tolist() == [[1, 0], [0, 1]]
    SEVERAL.check(actions, (3,))
    scores = np.float32([[-1, 0, 1e-9], [np.nan, 1, 1]])
    actions = BINARY.from_scores(scores, np.array([True, False]))
    assert actions.tolist() == [[0, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize("space", [THREE, BOX, SEVERAL, BINARY], ids=lambda space: space.type)
def test_spaces_with_equal_fields_are_equal_also_after_use(space: ActionSpace) -> None:
    """What a space caches is no part of it."""
    same = type(space)(**space.model_dump())
    space.check(space.uniform(np.full((1, *space.shape), 0.3, np.float32)), (1,))
    same.check(same.uniform(np.full((1, *space.shape), 0.3, np.float32)), (1,))
    assert (same, hash(same)) == (space, hash(space))
    assert same != THREE.model_copy(update={"names": ("c", "b", "a")})


def test_what_is_refused_is_told_with_the_digits_that_differ() -> None:
    space = BoxSpace(low=(-1.9,), high=(0.123456789,), names=("steer",))
    with pytest.raises(
        InvalidActionError, match=r"steer = -1\.9000001 is not in .* in \[-1\.9, 0\.12345679\]"
    ):
        space.check(np.nextafter(np.float32([-1.9]), np.float32(-2)))
    with pytest.raises(InvalidActionError, match=r"steer = 5 is not in Box"):
        space.check([5])
