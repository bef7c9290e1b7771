"""The page at /docs: self-contained, wherever it is mounted."""

import asyncio
import re
import threading
from html.parser import HTMLParser
from typing import Any

import pytest

from dreamserve.api.app import openapi_document
from dreamserve.api.docs import openapi_endpoint
from dreamserve.engine.fake import fake_world
from dreamserve_protocol.pages import PAGES
from dreamserve_protocol.verbs import VERBS

pytestmark = pytest.mark.anyio


class Reader(HTMLParser):
    """Collects the tags with their attributes, and the text in <code>."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.codes: set[str] = set()
        self._in_code = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_code = tag == "code"

    def handle_endtag(self, tag: str) -> None:
        self._in_code = False

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.codes.add(data)


@pytest.fixture
async def page(client: Any) -> str:
    answer = await client.http.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text: str = answer.text
    return text


async def test_the_page_loads_nothing(page: str) -> None:
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+", page)
    loading = {"src", "srcset", "data", "action", "background", "poster"}
    for tag, attributes in Reader(page).tags:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base"), tag
        assert not loading & attributes.keys(), (tag, attributes)
    assert "@import" not in page
    assert "url(" not in page


async def test_its_links_lead_there_behind_a_path_prefix_too(page: str) -> None:
    links = [attributes["href"] for tag, attributes in Reader(page).tags if tag == "a"]
    assert links == ["openapi.json"]
    assert 'fetch("."+path' in page  # of /prefix/docs: /prefix/step


async def test_every_verb_and_page_can_be_tried(page: str) -> None:
    forms = {
        (attributes["data-method"], attributes["data-path"])
        for tag, attributes in Reader(page).tags
        if tag == "form"
    }
    verbs = {(verb.method, verb.path) for verb in VERBS}
    assert forms == verbs | {("GET", one.path) for one in PAGES}


async def test_the_forms_name_a_session_of_the_examples_and_no_world(page: str) -> None:
    inputs = [attributes for tag, attributes in Reader(page).tags if tag == "input"]
    named = {(one["name"], one.get("value")) for one in inputs if one.get("name")}
    assert named == {("session_id", "a"), ("name", "")}


async def test_the_page_tells_nothing_of_the_loaded_worlds(serving: Any, page: str) -> None:
    """Nobody needs a key for it."""
    async with serving(fake_world("secret")) as other:
        assert (await other.http.get("/docs")).text == page


async def test_every_verb_field_and_error_is_named(page: str) -> None:
    named = Reader(page).codes
    for verb in VERBS:
        assert verb.path in named
        assert verb.summary in page.replace("&#x27;", "'")
        assert all(error.code in page for error in verb.all_errors), verb.name
    for name, schema in openapi_document()["components"]["schemas"].items():
        assert schema.get("properties", {}).keys() <= named, name
    assert {"info.surprise", "info.expected_surprise", "info.predicted_terminated"} <= named


async def test_names_in_backticks_are_shown_as_code(page: str) -> None:
    text, _, script = page.partition("<script>")
    assert script
    assert "`" not in text
    assert "<code>max_steps</code> of /reset" in text


async def test_the_document_is_made_once_and_beside_the_event_loop() -> None:
    """Making it takes as long as thousands of steps."""
    made_in = []

    def document() -> dict[str, Any]:
        made_in.append(threading.get_ident())
        return {"openapi": "3.1.0"}

    endpoint, sent = openapi_endpoint(document), []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    scope = {"type": "http", "method": "GET", "state": {"request_id": "r"}}
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(endpoint(scope, None, send))  # type: ignore[arg-type]  # unused
    assert b"".join(sent) == b'{"openapi":"3.1.0"}' * 3
    assert len(made_in) == 1
    assert made_in[0] != threading.get_ident()
