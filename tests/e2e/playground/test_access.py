"""Who uses a keyboard, a screen reader or tired eyes plays as well."""

from typing import Any

import pytest
from playwright.sync_api import expect

TEXTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => c <= 0.04045 * 255 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (at) => {
    for (; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3) return colour;
    }
  };
  const shown = [...document.querySelectorAll("body *")].filter((one) =>
    one.checkVisibility({ checkOpacity: true }) && !one.closest("#overlay, .badge, :disabled") &&
    !one.parentElement.querySelector(":scope > :disabled") &&
    [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return shown.map((one) => {
    const both = [rgb(getComputedStyle(one).color).slice(0, 3), behind(one)].map(luminance);
    const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    return [one.textContent.trim().slice(0, 40), ratio];
  });
}"""
NAMELESS = """[...document.querySelectorAll("[role=img]")]
  .filter((one) => !one.getAttribute("aria-label") && !one.closest("[hidden]")).length"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(player: Any, url: str, scheme: str) -> None:
    one = player(color_scheme=scheme, reduced_motion="reduce").open(url, "#seed=7")
    one.step(1)
    expect(one.page.locator("#connection")).to_have_text("connected")
    texts = one.page.evaluate(TEXTS)
    assert {"connected", "Controller C", "Copy link"} <= {text for text, _ in texts}
    assert [(text, ratio) for text, ratio in texts if ratio < 4.5] == []


def test_what_is_shown_on_a_button_is_in_its_name_and_decoration_has_none(
    player: Any, url: str
) -> None:
    one = player().open(url, "#seed=7")
    page = one.page
    expect(page.get_by_role("button", name="Copy link to this dream", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    one.press("b")
    page.click("#open-beginnings")
    expect(page.locator("#beginnings-list canvas")).to_have_count(24)
    expect(page.locator("#branches canvas")).to_have_count(1)
    assert page.evaluate(NAMELESS) == 0
    expect(page.locator("#beginnings-list canvas[aria-hidden=true]")).to_have_count(24)


@pytest.mark.parametrize("key", ["Space", "Enter"])
def test_a_button_that_has_the_focus_acts_while_a_key_presses_it(
    player: Any, url: str, key: str
) -> None:
    one = player().open(url, "#seed=7")
    button = one.page.get_by_role("button", name="left", exact=True)
    button.focus()
    one.page.keyboard.down(key)
    expect(button).to_have_attribute("aria-pressed", "true")
    one.wait_for_step(2)
    expect(one.page.locator("#action")).to_have_text("left")
    one.page.keyboard.up(key)
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(one.page.locator("#action")).to_have_text("noop")
    expect(one.page.get_by_role("button", name="Pause")).to_be_visible()


def test_a_click_without_a_pointer_holds_an_action_until_the_next(player: Any, url: str) -> None:
    one = player().open(url, "#seed=7")
    left = one.page.get_by_role("button", name="left", exact=True)
    right = one.page.get_by_role("button", name="right", exact=True)
    left.evaluate("(button) => button.click()")
    one.wait_for_step(2)
    expect(one.page.locator("#action")).to_have_text("left")
    one.page.locator("#seed").focus()
    right.evaluate("(button) => button.click()")
    expect(one.page.locator("#action")).to_have_text("right")
    expect(left).to_have_attribute("aria-pressed", "false")
    right.evaluate("(button) => button.click()")
    expect(one.page.locator("#action")).to_have_text("noop")
    left.click()  # by a pointer it is held no longer than that
    expect(left).to_have_attribute("aria-pressed", "false")


def test_space_plays_after_a_real_beginning_was_chosen(player: Any, url: str) -> None:
    one = player().open(url, "#seed=7")
    one.page.click("#open-beginnings")
    one.page.get_by_role("button", name="Begin at real frame 3", exact=True).click()
    expect(one.page.locator("#start")).to_have_text("real frame 3")
    one.press("Space")
    one.wait_for_step(3)
    expect(one.page.locator("#beginnings")).to_be_hidden()


def test_the_dialog_of_beginnings_gives_the_keys_back_to_who_opened_it(
    player: Any, url: str
) -> None:
    one = player().open(url, "#seed=7")
    one.page.locator("#open-beginnings").focus()
    one.press("Enter")
    expect(one.page.locator("#beginnings")).to_be_visible()
    one.press("Escape")
    expect(one.page.locator("#open-beginnings")).to_be_focused()
    one.page.click("#open-beginnings")
    one.press("Escape")
    expect(one.page.locator("#beginnings")).to_be_hidden()
    one.press("Space")  # a pointer opened it: the keys are the game's
    one.wait_for_step(3)


def test_space_plays_after_a_seed_was_entered(player: Any, url: str) -> None:
    one = player().open(url, "#seed=7")
    one.page.fill("#seed", "3")
    one.press("Enter")
    expect(one.page).to_have_url(f"{url}/play#world=takecover&seed=3&temperature=1")
    one.press("Space")
    one.wait_for_step(3)
    one.page.fill("#seed", "-3")
    one.press("Enter")
    expect(one.page.locator("#seed")).to_be_focused()  # to correct it


def test_a_key_is_released_whatever_else_is_held(player: Any, url: str) -> None:
    one = player().open(url, "#seed=7")
    pressed = one.page.locator("#buttons [aria-pressed=true]")
    one.page.keyboard.down("Digit2")
    expect(pressed).to_have_count(1)
    one.page.keyboard.down("Shift")
    one.page.keyboard.up("Digit2")
    expect(pressed).to_have_count(0)
    one.page.keyboard.up("Shift")
    for key in ("ArrowLeft", "a"):
        one.page.keyboard.down(key)
    one.page.keyboard.up("a")
    expect(pressed).to_have_count(1)  # the arrow is held
    one.page.keyboard.up("ArrowLeft")
    expect(pressed).to_have_count(0)
