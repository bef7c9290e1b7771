"""The playground on a server that wants an API key, under a path prefix."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from dreamserve.api.access.keys import entry_for

KEY = "dsk_the-key-of_a-player"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, takecover: Path, serve: Any) -> Iterator[str]:
    """Return the address of a server with one key, at the prefix /dreams."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    path.write_text(entry_for("player", KEY))
    with serve(takecover, "--api-keys-file", str(path), "--root-path", "/dreams") as served:
        yield f"{served.url}/dreams"


def test_the_page_asks_for_a_key_and_then_plays(locked: str, player: Any) -> None:
    one = player()
    one.may_lose_server = True  # the browser reports each handshake that is refused
    page = one.page
    page.goto(f"{locked}/play")
    expect(page.get_by_label("This server wants an API key")).to_be_focused()
    page.keyboard.type("wrong-b")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The server does not know this key.")).to_be_visible()
    page.get_by_label("This server wants an API key").fill(KEY)
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#connection")).to_have_text("connected")
    expect(page.locator("#key-form")).to_be_hidden()
    expect(page.locator("#overlay")).to_be_visible()
    one.step(2)
    page.reload()  # the tab remembers the key
    expect(page.locator("#connection")).to_have_text("connected")
    expect(page.locator("#key-form")).to_be_hidden()


def test_the_reference_sends_the_key_that_is_entered(locked: str, player: Any) -> None:
    one = player()
    page = one.page
    one.may_lose_server = True
    page.goto(f"{locked}/docs")
    worlds = page.locator("details", has=page.locator('form[data-path="/worlds"]'))
    worlds.locator("summary").click()
    worlds.get_by_role("button", name="Send").click()
    expect(worlds.locator("pre")).to_contain_text("401")
    page.get_by_label("API key").fill(KEY)
    worlds.get_by_role("button", name="Send").click()
    expect(worlds.locator("pre")).to_contain_text("takecover")
