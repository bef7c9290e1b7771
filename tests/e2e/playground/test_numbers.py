"""Worlds without pictures are played by their numbers: vectors by name, or latents."""

from typing import Any

from playwright.sync_api import expect

VALUES = "Array.from(document.querySelectorAll('#numbers output'), (one) => Number(one.value))"


def test_a_vector_is_shown_by_its_names_and_moves_with_the_dream(player: Any, url: str) -> None:
    one = player().open(url, "#world=classes&seed=3")
    page = one.page
    assert page.locator("#numbers li > span").all_inner_texts() == ["x", "y", "speed"]
    first = page.evaluate(VALUES)
    one.step(3)
    assert page.evaluate(VALUES) != first
    assert float(page.inner_text("#surprise")) > 0  # in nats per group
    assert page.inner_text("#hesitation").endswith("of 3")  # classes
    assert page.inner_text("#signal-uncertainty") != "\u2013"
    expect(page.locator("#futures figure")).to_have_count(6)
    page.locator("#timeline").fill("0")
    expect(page.locator("#steps")).to_have_text("0 / 3")
    page.wait_for_function(f"first => String({VALUES}) === String(first)", arg=first)
    one.press("b")
    expect(page.locator("#branches li canvas")).to_have_count(1)


def test_a_bundled_policy_plays_and_a_real_moment_begins_a_dream(player: Any, url: str) -> None:
    one = player().open(url, "#world=classes&seed=3")
    one.press("c", "Space")
    one.wait_for_step(3)
    assert one.page.evaluate("document.forms.driver.elements.driver.value") == "controller"
    one.page.click("#open-beginnings")
    one.page.get_by_role("button", name="Begin at real moment 12").click()
    expect(one.page.locator("#start")).to_have_text("real moment 12")


def test_a_world_that_decodes_nothing_shows_its_latent(player: Any, url: str) -> None:
    one = player().open(url, "#world=linear&seed=3")
    page = one.page
    assert page.locator("#numbers li > span").all_inner_texts() == ["latent 0", "latent 1"]
    page.locator("#sliders input").fill("1.5")
    one.wait_for_step(2)
    one.pause()
    assert page.inner_text("#surprise") == "\u2013"  # nothing was drawn
    expect(page.locator("#mixture")).to_be_hidden()
    expect(page.locator("#futures figure")).to_have_count(6)


def test_another_world_may_have_pictures(player: Any, url: str) -> None:
    one = player().open(url, "#world=classes&seed=3")
    one.page.select_option("#world", "takecover")
    expect(one.page.locator("#screen")).to_be_visible()
    expect(one.page.locator("#numbers")).to_be_hidden()
    expect(one.page.locator(".signal dt")).to_have_text(["hit"])
    one.step(1)
    one.page.select_option("#world", "classes")
    expect(one.page.locator("#numbers")).to_be_visible()
