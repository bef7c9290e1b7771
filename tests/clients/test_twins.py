"""The two clients are one: the same methods, signatures and behaviour, one of them awaited."""

import asyncio
import inspect

import httpx
import pytest

import dreamserve_client as sdk

PAIRS = [(sdk.DreamClient, sdk.AsyncDreamClient), (sdk.DreamSession, sdk.AsyncDreamSession)]


def methods(kind):
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: value for name, value in found if not name.startswith("_")}


def shape(function):
    """Parameters and answer, with the asynchronous names said as the synchronous ones."""
    return str(inspect.signature(function)).replace("Async", "")


@pytest.mark.parametrize(("plain", "awaited"), PAIRS)
def test_both_have_the_same_methods_with_the_same_signatures(plain, awaited):
    assert methods(plain).keys() == methods(awaited).keys()
    for name, method in methods(plain).items():
        assert shape(method) == shape(methods(awaited)[name]), name
        assert inspect.getdoc(method) == inspect.getdoc(methods(awaited)[name]), name
        assert inspect.iscoroutinefunction(methods(awaited)[name]), name


def test_a_method_shows_its_own_name_signature_and_documentation():
    described = inspect.signature(sdk.DreamClient.session)
    assert str(described) == "(self, session_id: str) -> dreamserve_client.types.SessionInfo"
    assert sdk.DreamClient.plan.__name__ == "plan"
    assert "session_id" not in inspect.signature(sdk.DreamSession.plan).parameters
    assert "does not move" in sdk.DreamSession.plan.__doc__


def test_a_dream_knows_its_session_counts_its_steps_and_ends_it(fake):
    server = fake(fake.ok(fake.RESET), fake.ok(fake.STEP), fake.ok(fake.SESSION))
    with server.client() as client, client.dream("pong", seed=7) as dream:
        assert dream.first.seed == 7
        assert dream.step(1).reward == 1.0
    assert [request.method for request in server.requests] == ["POST", "POST", "DELETE"]
    assert server.body(1) == {"session_id": "s1", "action": 1, "step": 1}
    assert server.requests[2].url.path == "/sessions/s1"


@pytest.mark.parametrize(("status", "code"), [(404, "session_not_found"), (410, "session_expired")])
def test_leaving_a_dream_that_is_already_gone_is_fine(fake, status, code):
    server = fake(fake.ok(fake.RESET), fake.problem(status, code))
    with server.client().dream():
        pass
    assert server.requests[-1].method == "DELETE"


def test_the_awaited_client_retries_and_reads_alike(fake, waits):
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


def test_the_awaited_client_closes_its_own_connections_only(fake):
    server = fake(fake.ok(fake.RESET))

    async def use():
        given = server.async_client()
        async with given:
            await given.reset()
        await given.reset()
        async with sdk.AsyncDreamClient(fake.URL) as own:
            pass
        with pytest.raises(RuntimeError, match="closed"):
            await own.reset()

    asyncio.run(use())
