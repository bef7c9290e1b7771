"""The two clients have the same methods, signatures and behaviour; one of them is async."""

import asyncio
import inspect

import httpx
import pytest

import dreamserve_client as sdk

PAIRS = [
    (sdk.DreamClient, sdk.AsyncDreamClient),
    (sdk.DreamSession, sdk.AsyncDreamSession),
    (sdk.Dreams, sdk.AsyncDreams),
]


def methods(kind):
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: value for name, value in found if not name.startswith("_")}


def shape(function):
    """Return parameters and result, with asynchronous names replaced by the synchronous ones."""
    return str(inspect.signature(function)).replace("Async", "")


@pytest.mark.parametrize(("plain", "awaited"), PAIRS)
def test_both_clients_have_the_same_methods_with_the_same_signatures(plain, awaited):
    assert methods(plain).keys() == methods(awaited).keys()
    for name, method in methods(plain).items():
        assert shape(method) == shape(methods(awaited)[name]), name
        assert inspect.getdoc(method) == inspect.getdoc(methods(awaited)[name]), name
        assert inspect.iscoroutinefunction(methods(awaited)[name]) is (name != "with_options"), name


def test_a_method_shows_its_own_name_signature_and_documentation():
    described = inspect.signature(sdk.DreamClient.session)
    assert str(described) == "(self, session_id: str) -> dreamserve_protocol.sessions.SessionResult"
    restoring = inspect.signature(sdk.DreamClient.restore)
    assert restoring.return_annotation is sdk.SessionResult
    assert sdk.DreamClient.plan.__name__ == "plan"
    assert "session_id" not in inspect.signature(sdk.DreamSession.plan).parameters
    documentation = inspect.getdoc(sdk.DreamSession.plan)
    assert documentation.startswith("Search for the best actions from a session's current state")
    assert "\nhorizon: H, the number of actions in a plan.\n" in documentation
    assert "session_id:" not in documentation


def test_a_method_that_returns_dreams_keeps_its_own_name_and_summary():
    begin, fork = sdk.DreamClient.dream, sdk.DreamSession.fork
    assert (begin.__name__, fork.__name__) == ("dream", "fork")
    assert inspect.getdoc(begin).startswith("Begin a dream and return it as an object")
    assert "\nseed: The same seed gives the same dream." in inspect.getdoc(begin)
    parameters = inspect.signature(sdk.DreamClient.reset).parameters
    assert inspect.signature(begin).parameters == parameters
    assert inspect.signature(begin).return_annotation == "DreamSession"
    assert list(inspect.signature(fork).parameters)[:2] == ["self", "count"]


def test_forks_of_a_dream_are_dreams_with_arrays_of_their_own(fake):
    state = {"h": [0.25, 0.5]}
    server = fake(fake.ok(fake.RESET), fake.ok(fake.FORK, state=state))
    one, two = server.client().dream().fork(session_ids=["f1", "f2"], include=["state"])
    assert [one.session_id, two.session_id] == ["f1", "f2"]
    assert [one.first.seed, two.first.seed] == [7, 8]
    one.first.latent[:] = 0
    one.first.state["h"][:] = 0
    assert two.first.latent.tolist() == [0.5, -0.25]
    assert two.first.state["h"].tolist() == [0.25, 0.5]


def test_a_resumed_dream_begins_where_its_snapshot_was_taken(fake):
    server = fake(fake.ok(fake.SESSION))
    dream = server.client().resume({"latent": [0.5, 1.0]}, "s1")
    assert (dream.session_id, dream.first.step, dream.first.seed) == ("s1", 4, 7)
    assert dream.first.latent.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("awaited", [False, True])
def test_a_dream_is_resumed_as_the_session_of_the_callers_choice(fake, awaited):
    server, snapshot = fake(fake.ok(fake.SESSION)), {"latent": [0.5, 1.0]}

    async def resume():
        async with server.async_client() as client:
            return await client.resume(snapshot, "mine")

    dream = asyncio.run(resume()) if awaited else server.client().resume(snapshot, "mine")
    assert dream.first.step == 4
    (request,) = server.requests
    assert (request.method, request.url.path) == ("PUT", "/sessions/mine/snapshot")
    assert request.headers["x-session-id"] == "mine"


def test_a_dream_knows_its_session_counts_its_steps_and_ends_it(fake):
    server = fake(fake.ok(fake.RESET), fake.ok(fake.STEP), fake.ok(fake.SESSION))
    with server.client() as client, client.dream("pong", session_id="s1", seed=7) as dream:
        assert dream.first.seed == 7
        assert dream.step(1).reward == 1.0
    assert [request.method for request in server.requests] == ["POST", "POST", "DELETE"]
    assert server.body(1) == {"session_id": "s1", "action": 1, "step": 1}
    assert server.requests[2].url.path == "/sessions/s1"


@pytest.mark.parametrize(("status", "code"), [(404, "session_not_found"), (410, "session_expired")])
def test_closing_a_dream_that_no_longer_exists_is_no_error(fake, status, code):
    server = fake(fake.ok(fake.RESET), fake.problem(status, code))
    with server.client().dream():
        pass
    assert server.requests[-1].method == "DELETE"


@pytest.mark.parametrize(("status", "code"), [(404, "session_not_found"), (410, "session_expired")])
def test_closing_a_missing_dream_is_no_error_for_the_async_client(fake, status, code):
    server = fake(fake.ok(fake.RESET), fake.problem(status, code))

    async def leave():
        async with server.async_client() as client, await client.dream():
            pass

    asyncio.run(leave())
    assert server.requests[-1].method == "DELETE"


def test_the_async_client_retries_and_reads_alike(fake, waits):
    server = fake(
        fake.ok(fake.RESET),
        httpx.ReadError("cut"),
        fake.ok(fake.STEP),
        fake.problem(404, "session_not_found"),
    )

    async def dream():
        async with server.async_client() as client, await client.dream("pong") as session:
            return await session.step(1)

    assert asyncio.run(dream()).step == 1
    assert [request.method for request in server.requests] == ["POST"] * 3 + ["DELETE"]
    assert len(waits) == 1


def test_the_async_client_closes_only_its_own_connections(fake):
    server = fake(fake.ok(fake.RESET))

    async def use():
        lent = server.async_client()
        async with lent:
            await lent.reset()
        await lent.reset()
        async with sdk.AsyncDreamClient(fake.URL) as own:
            pass
        with pytest.raises(RuntimeError, match="closed"):
            await own.reset()

    asyncio.run(use())
