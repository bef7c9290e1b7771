"""The options of planners are validated field by field."""

from typing import Any

import numpy as np
import pytest

from dreamserve.planning.catalog import PLANNERS, options_of
from dreamserve.planning.cem import Cem
from dreamserve.planning.icem import Icem
from dreamserve.planning.mppi import Mppi
from dreamserve.planning.options import Bounds, Options, bounds, check
from dreamserve.planning.random_shooting import RandomShooting
from dreamserve_protocol.errors import InvalidRequestError, NotFiniteInputError


@pytest.mark.parametrize("name", PLANNERS)
def test_the_defaults_are_allowed(name: str) -> None:
    check(PLANNERS[name].options())


@pytest.mark.parametrize("name", PLANNERS)
def test_values_on_a_bound_are_allowed(name: str) -> None:
    options = PLANNERS[name].options
    for field, (least, most) in bounds(options).items():
        for bound in {least, min(most, 10**6)}:
            check(options(**{field: bound}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (RandomShooting(candidates=0), "candidates must be at least 1, not 0"),
        (Cem(iterations=-1), "iterations must be at least 1, not -1"),
        (Cem(elite_share=1.5), "elite_share must be within 0 and 1, not 1.5"),
        (Icem(noise_beta=-0.1), "noise_beta must be within 0 and 5, not -0.1"),
        (Icem(decay=0.9), "decay must be within 1 and 100, not 0.9"),
        (Icem(decay=10**400), f"decay must be within 1 and 100, not {10**400}"),
        (Mppi(temperature=0), "temperature must be within 0.001 and 1000, not 0"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_valid_range(options: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check(options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Cem(candidates=1.5), "candidates must be an integer, not 1.5"),
        (Cem(candidates=True), "candidates must be an integer, not True"),
        (Cem(momentum="0.1"), "momentum must be a number, not '0.1'"),
        (Mppi(std=None), "std must be a number, not None"),
    ],
)
def test_a_value_that_is_not_a_number_is_refused(options: Options, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check(options)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.float32("nan")])
def test_a_value_that_is_not_finite_has_its_own_error(value: float) -> None:
    with pytest.raises(NotFiniteInputError, match="std must be a finite number, not"):
        check(Mppi(std=value))


def test_numpy_numbers_are_numbers() -> None:
    check(Icem(candidates=np.int64(7), std=np.float32(0.5)))


def test_bounds_are_available_for_a_schema() -> None:
    assert bounds(Cem)["momentum"] == Bounds(0, 1)
    assert bounds(Cem()) == bounds(Cem)
    assert bounds(RandomShooting) == {"candidates": Bounds(1)}


def test_options_that_are_not_given_are_the_planners_defaults() -> None:
    assert options_of("cem", {}) == Cem()
    assert options_of("cem", {"momentum": 0.5}, candidates=7) == Cem(candidates=7, momentum=0.5)
    assert options_of("icem", {"iterations": 3}, iterations=9) == Icem(iterations=3)


def test_numbers_that_json_wrote_as_floats_are_integers_where_they_are_whole() -> None:
    options = options_of("cem", {"candidates": 100.0, "elite_share": 1.0, "std": 0.5})
    assert options == Cem(candidates=100, elite_share=1, std=0.5)
    assert type(options.candidates) is int
    with pytest.raises(InvalidRequestError, match=r"candidates must be an integer, not 1\.5"):
        options_of("cem", {"candidates": 1.5})


def test_random_shooting_has_one_iteration_however_many_are_asked_for() -> None:
    shooting = options_of("random_shooting", {}, candidates=5, iterations=9)
    assert (shooting, shooting.iterations) == (RandomShooting(candidates=5), 1)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("cem", {"nose": 1, "momentum": 0.5}, r"cem has the options .*, not \['nose'\]"),
        ("random_shooting", {"momentum": 0}, r"the options \['candidates'\], not \['momentum'\]"),
        ("random_shooting", {"iterations": 1}, r"options \['candidates'\], not \['iterations'\]"),
        ("mppi", {"temperature": 0.0}, "temperature must be within 0.001 and 1000, not 0"),
    ],
)
def test_options_that_a_planner_does_not_have_or_allow_are_refused(
    name: str, given: dict[str, float], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        options_of(name, given)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_given_options_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(NotFiniteInputError, match="std must be a finite number"):
        options_of("cem", {"std": value})
