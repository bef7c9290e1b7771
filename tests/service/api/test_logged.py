"""What a server logs: every 4xx and 5xx with its request id, and with the access log every request.

Never a body, a query or a key.
"""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from dreamserve.api import heads
from dreamserve.api.problems import Problems
from dreamserve.logs import TextFormatter
from dreamserve.settings import Settings
from dreamserve_protocol.errors import BadRequestError, UnsupportedHttpError

pytestmark = pytest.mark.anyio
Serving = Callable[..., Any]
SECRET = "sk-very-secret"


def fields(caplog: pytest.LogCaptureFixture, message: str = "problem") -> list[dict[str, Any]]:
    """Return the fields of the events so far."""
    return [record.fields for record in caplog.records if record.message == message]


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dreamserve")


async def test_a_refused_step_leaves_a_line_with_all_that_is_known_of_it(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.post("/step", {"session_id": "nobody", "action": 1})
    (event,) = fields(caplog)
    assert event.pop("duration_ms") > 0
    assert event == {
        "request_id": response.headers["x-request-id"],
        "verb": "step",
        "session_id": "nobody",
        "status": 404,
        "code": "session_not_found",
    }


@pytest.mark.parametrize("where", ["path", "header"])
async def test_a_session_is_named_even_if_the_request_was_not_valid(
    client: Any, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    if where == "path":
        await client.http.post("/sessions/s1/rewind", json={"step": "x"})
    else:
        await client.post("/step", {"action": "x"}, **{"x-session-id": "s1"})
    (event,) = fields(caplog)
    assert (event["session_id"], event["status"]) == ("s1", 422)
    assert event["verb"] == {"path": "rewind", "header": "step"}[where]


async def test_no_body_query_or_key_is_logged(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    formatter = TextFormatter()
    async with serving(access_log=True) as client:
        headers = {"authorization": f"Bearer {SECRET}", "x-api-key": SECRET}
        await client.post("/step", {"session_id": "s", "action": SECRET}, **headers)
        await client.post("/step", {SECRET: SECRET}, **headers)
        await client.http.get(f"/nope?key={SECRET}", headers=headers)
        await client.http.post("/step", content=SECRET, headers={"content-type": SECRET})
    lines = [formatter.format(record) for record in caplog.records]
    assert len(lines) == 8
    assert SECRET not in "\n".join(lines)


async def test_a_request_that_succeeds_leaves_no_line(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await client.reset()
    await client.http.get("/readyz")
    assert not caplog.records


async def test_with_the_access_log_every_request_leaves_a_line(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(access_log=True) as client:
        session_id = (await client.reset(session_id="s1"))["session_id"]
        response = await client.post("/step", {"session_id": session_id, "action": 1})
        await client.http.get("/readyz")
    reset, step, ready = fields(caplog, "request")
    assert (reset["verb"], reset["status"], reset["path"]) == ("reset", 200, "/reset")
    assert step.pop("duration_ms") > 0
    assert step == {
        "request_id": response.headers["x-request-id"],
        "verb": "step",
        "session_id": "s1",
        "method": "POST",
        "path": "/step",
        "status": 200,
    }
    assert (ready["verb"], ready["path"]) == ("other", "/readyz")


async def test_an_unforeseen_error_leaves_its_traceback(
    client: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.unforeseen.add("internal_error")

    def broken(*_: Any) -> None:
        raise RuntimeError("why")

    monkeypatch.setattr(client.app.service.engine.queue, "add", broken)
    await client.post("/step", {"session_id": "s", "action": 1})
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "RuntimeError: why" in TextFormatter().format(record)


def test_what_is_no_http_leaves_a_line_too(caplog: pytest.LogCaptureFixture) -> None:
    problems = Problems()
    heads.Refusal(BadRequestError("not HTTP")).response(problems)
    (event,) = fields(caplog)
    assert (event["code"], event["status"], event["verb"]) == ("bad_request", 400, "other")
    assert problems.counts == {("other", "bad_request", 400): 1}


def test_settings_that_are_not_the_default_are_logged_without_what_is_secret() -> None:
    assert Settings(capacity=5, metrics=False).changed() == {"capacity": "5", "metrics": "False"}
    with_password = Settings(worlds_folder="https://user:password@example.org")
    assert with_password.changed() == {"worlds_folder": "https://***@example.org"}


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("redis://user:hidden@db:6379/0", "redis://***@db:6379/0"),
        ("rediss://:hid/den#@db?waitaof=1,1", "rediss://***@db?waitaof=1,1"),
        ("redis://db?username=hidden&password=hidden", "redis://db?username=***&password=***"),
        ("sqlite:/data/dreams.db", "sqlite:/data/dreams.db"),
    ],
)
def test_the_password_of_a_store_is_not_logged(store: str, shown: str) -> None:
    assert Settings(store=store).changed() == {"store": shown}


def test_what_any_client_can_ask_for_is_no_error_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Problems().note(UnsupportedHttpError("this server is not a proxy"), "r1")
    (record,) = caplog.records
    assert (record.levelname, record.fields["status"]) == ("INFO", 501)  # type: ignore[attr-defined]
