"""The route in a session's id."""

from pathlib import Path

import pytest

from dreamserve_protocol.ids import MAX_ROUTE, is_route, is_valid, new_id, new_route, route_of

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("session_id", "route"),
    [("a", "a"), ("a--b", "a"), ("a--b--c", "a"), ("--a", "--a"), ("---a", "-"), ("a-b", "a-b")],
)
def test_the_route_is_what_precedes_the_first_pair_of_hyphens(session_id, route):
    assert route_of(session_id) == route
    assert route_of(route) == route  # so a batch can carry the route itself


def test_new_ids_are_valid_and_of_their_route():
    longest = "r" * MAX_ROUTE
    for route in (new_route(), longest):
        one, other = new_id(route), new_id(route)
        assert one != other
        assert is_valid(one)
        assert is_route(route)
        assert route_of(one) == route
    assert route_of(alone := new_id()) == alone
    assert not is_route(f"{longest}r")


def test_a_longer_route_leaves_no_room_for_new_ids_as_the_pages_say():
    too_long = "r" * (MAX_ROUTE + 1)
    assert is_valid(too_long)
    assert route_of(new_id(too_long)) != too_long
    for page in ("api.md", "deploy.md"):
        text = " ".join((DOCS / page).read_text().split())
        assert f"at most {MAX_ROUTE} characters" in text
