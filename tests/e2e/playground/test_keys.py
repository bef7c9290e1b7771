"""The playground on a server that wants an API key, under a path prefix."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dreamserve.api.access.keys import entry_for

KEY = "dsk_the-key-of_a-player"
STORED = "sessionStorage.getItem('dreamserve-key')"


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


def ask(locked: str, player: Any, script: str = "") -> Page:
    """Open the playground after a script, and wait until it asks for a key."""
    one = player()
    one.may_lose_server = True
    if script:
        one.page.add_init_script(script)
    one.page.goto(f"{locked}/play")
    expect(one.page.locator("#key")).to_be_focused()
    page: Page = one.page
    return page


def enter(page: Page, key: str) -> None:
    """Send the form with a key."""
    page.fill("#key", key)
    page.get_by_role("button", name="Use this key").click()


@pytest.mark.parametrize("key", ["a b", f"{KEY}=", f"é{KEY}", f"{KEY}€", "wrong"])
def test_a_key_that_cannot_be_used_is_not_kept(locked: str, player: Any, key: str) -> None:
    page = ask(locked, player)
    enter(page, key)
    said = "does not know this key" if key == "wrong" else "A key consists of letters"
    expect(page.locator("#key-error")).to_contain_text(said)
    assert page.evaluate(STORED) is None
    page.reload()
    expect(page.locator("#key")).to_be_focused()
    enter(page, KEY)
    expect(page.locator("#connection")).to_have_text("connected")
    expect(page.locator("#overlay")).to_be_visible()


def test_a_key_may_be_pasted_with_its_header(locked: str, player: Any) -> None:
    page = ask(locked, player)
    enter(page, f" Bearer {KEY} ")
    expect(page.locator("#overlay")).to_be_visible()
    assert page.evaluate(STORED) == KEY


def test_a_key_that_could_not_be_tried_is_not_kept(locked: str, player: Any) -> None:
    page = ask(locked, player)
    page.route("**/worlds", lambda route: route.fulfill(status=503, body="{}"))
    enter(page, KEY)
    expect(page.locator("#key-error")).to_contain_text("could not try this key")
    assert page.evaluate(STORED) is None
    page.unroute("**/worlds")
    enter(page, KEY)
    expect(page.locator("#overlay")).to_be_visible()


@pytest.mark.parametrize("kept", ["a b", "dsk_revoked"])
def test_a_kept_key_that_is_refused_is_forgotten_and_asked_for(
    locked: str, player: Any, kept: str
) -> None:
    keep = f"if (!{STORED}) sessionStorage.setItem('dreamserve-key', '{kept}')"
    page = ask(locked, player, f"if (!window.name) {{ window.name = 'kept'; {keep} }}")
    assert page.evaluate(STORED) in (None, "a b")
    enter(page, KEY)
    expect(page.locator("#overlay")).to_be_visible()


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
