"""Ids tell a load balancer where a session lives: those that the SDK chooses share a route."""

import pytest

import dreamserve_client as sdk
from dreamserve_client.transports.stream import AsyncStream
from dreamserve_protocol.ids import MAX_ROUTE


def routes(server) -> list[str]:
    """Return what a balancer hashes for each request."""
    routes = [request.headers["x-session-route"] for request in server.requests]
    assert routes == [sdk.route_of(one.headers["x-session-id"]) for one in server.requests]
    return routes


def test_forks_and_their_forks_live_where_the_first_dream_does(fake):
    server = fake(fake.ok(fake.FORK))
    client = server.client()
    client.fork("tour", 2)
    child = server.body(0)["session_ids"][0]
    client.fork(child)
    (grandchild,) = server.body(1)["session_ids"]
    assert [sdk.route_of(one) for one in (child, grandchild)] == ["tour", "tour"]
    assert server.requests[1].headers["x-session-id"] == child != grandchild
    assert routes(server) == ["tour", "tour"]


def test_a_fork_of_an_id_without_room_for_a_route_gets_an_id_without_one(fake):
    server = fake(fake.ok(fake.FORK))
    server.client().fork("x" * (MAX_ROUTE + 1))
    assert "--" not in server.body()["session_ids"][0]


def test_the_dreams_of_a_vector_have_one_route_and_all_their_requests_carry_it(fake):
    server = fake(*(fake.ok(one) for one in (fake.RESET_BATCH, fake.STEP_BATCH, fake.RESET_BATCH)))
    client = server.client()
    dreams = client.dreams(2)
    dreams.step([1, 0])
    dreams.reset()
    (route,) = {sdk.route_of(session_id) for session_id in dreams.session_ids}
    assert [request.headers["x-session-id"] for request in server.requests] == [route] * 3


def test_a_client_with_a_route_gives_it_to_every_session_that_it_creates(fake):
    batch = fake.ok(fake.RESET_BATCH)
    server = fake(*(fake.ok(fake.RESET), batch, batch, fake.ok(fake.SESSION), fake.ok(fake.RESET)))
    client = server.client(route="robot-7").with_options(max_retries=1)
    client.reset()
    client.reset_batch(2)
    client.dreams(2)
    client.restore({"format": "x"})
    client.reset(session_id="mine")
    assert routes(server) == ["robot-7"] * 4 + ["mine"]


@pytest.mark.parametrize("route", ["", "a--b", "a b", "x" * (MAX_ROUTE + 1)])
def test_a_route_that_no_id_can_begin_with_is_refused(route):
    with pytest.raises(sdk.ConfigurationError, match="route must be 1 to 110 characters"):
        sdk.DreamClient("http://h", route=route)


def test_a_stream_tells_its_route_when_it_opens_and_other_streams_have_others(monkeypatch):
    opened = []
    monkeypatch.setattr(AsyncStream, "__init__", lambda self, *args: opened.append(args[2]))
    clients = [sdk.AsyncDreamClient("http://h", transport="stream") for _ in range(2)]
    assert opened == [client.route for client in clients]
    assert len(set(opened)) == 2
    assert None not in opened
