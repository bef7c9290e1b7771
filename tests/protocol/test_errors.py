"""The error tree: every leaf has a message and a remedy, and a code selects its leaf."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dreamserve_protocol import errors
from dreamserve_protocol.errors import (
    MAX_DETAIL,
    CallerError,
    DreamserveError,
    ProblemError,
    ServerError,
    error_classes,
    problem_of,
)

CLASSES = error_classes()


@pytest.mark.parametrize("leaf", CLASSES, ids=lambda leaf: leaf.code)
def test_every_leaf_has_a_code_a_status_of_its_side_and_a_remedy(leaf):
    assert re.fullmatch(r"[a-z_]+", leaf.code)
    assert leaf.status in (range(500, 600) if issubclass(leaf, ServerError) else range(400, 500))
    assert issubclass(leaf, CallerError | ServerError)
    assert leaf.remedy.endswith(".")
    assert (leaf.__doc__ or "").endswith(".")
    assert not leaf.__subclasses__()


def test_codes_are_unique_and_all_in_the_drawing_of_the_tree():
    codes = [leaf.code for leaf in CLASSES]
    assert len(codes) > 15
    assert len(set(codes)) == len(codes)
    drawing = errors.__doc__ or ""
    assert [leaf.code for leaf in CLASSES if not re.search(rf"\b{leaf.code}\b", drawing)] == []


def test_a_temporary_problem_says_how_long_to_wait():
    waiting = {leaf.code for leaf in CLASSES if leaf.retry_after_s is not None}
    assert waiting == {
        "overloaded",
        "rate_limited",
        "not_ready",
        "session_moved",
        "store_unavailable",
        "draining",
    }
    assert {leaf.code for leaf in CLASSES if leaf.status in (429, 503)} == waiting


@pytest.mark.parametrize("leaf", CLASSES, ids=lambda leaf: leaf.code)
def test_a_code_selects_its_class_which_keeps_the_received_status(leaf):
    error = problem_of(leaf.code, leaf.status, "what was wrong")
    assert type(error) is leaf
    assert (error.code, error.status, error.detail) == (leaf.code, leaf.status, "what was wrong")
    assert error.retry_after_s is None  # the class's own values are for the server to send


@pytest.mark.parametrize(
    ("status", "kind"), [(400, CallerError), (499, CallerError), (500, ServerError)]
)
def test_an_unknown_code_has_the_class_of_its_status_and_changes_no_other(status, kind):
    error = problem_of("of_a_later_version", status, "new")
    assert type(error) is kind
    assert (error.code, error.status) == ("of_a_later_version", status)
    assert kind.code == ""
    assert error_classes() == CLASSES


@settings(deadline=None)
@given(st.text(max_size=3 * MAX_DETAIL))
@example("x" * (MAX_DETAIL + 1))
def test_a_detail_is_kept_up_to_its_bound(detail):
    error = CLASSES[0](detail)
    assert len(error.detail) <= MAX_DETAIL
    assert error.detail == detail if len(detail) <= MAX_DETAIL else error.detail[-1] == "…"
    assert str(error) == error.detail


def test_a_received_problem_names_its_request():
    error = problem_of("overloaded", 429, "full")
    error.request_id = "r-1"
    assert str(error) == "full [overloaded, HTTP 429, request r-1]"


def test_all_errors_have_one_base_and_request_errors_are_value_errors():
    assert issubclass(ProblemError, DreamserveError)
    faulty = {leaf.code for leaf in CLASSES if issubclass(leaf, ValueError)}
    assert faulty == {"invalid_request", "invalid_action", "not_finite"}
