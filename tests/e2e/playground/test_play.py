"""A person plays: by keys, by touch, with help, and whatever the world's actions are."""

from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LUMINANCE = """() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g)
  .reduce((sum, channel) => sum + Number(channel), 0) / 3"""


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_keys_play_the_dream(player: Any, url: str, scheme: str, is_dark: bool) -> None:
    one = player(color_scheme=scheme).open(url, "#seed=7")
    assert (one.page.evaluate(LUMINANCE) < 64) == is_dark
    first = one.pixels
    one.page.keyboard.down("ArrowLeft")  # begins to play, too
    expect(one.page.locator("#action")).to_have_text("left")
    one.page.keyboard.up("ArrowLeft")
    expect(one.page.locator("#action")).to_have_text("noop")
    step = one.pause()
    assert step > 2
    assert one.pixels != first
    expect(one.page.locator("#total")).to_have_text(f"{step}.0")  # TakeCover pays 1 a step
    assert float(one.page.inner_text("#surprise")) > 0
    assert one.page.inner_text("#hesitation").endswith("of 8")  # components of its mixture


def test_a_finger_plays_the_dream_on_a_phone(player: Any, url: str) -> None:
    one = player(**PHONE).open(url, "#seed=7")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    box = one.page.get_by_role("button", name="right", exact=True).bounding_box()
    assert box["height"] >= 44
    assert box["y"] + box["height"] < 844
    one.page.tap("#overlay")
    one.wait_for_step(3)
    button = one.page.get_by_role("button", name="right", exact=True)
    button.dispatch_event("pointerdown", {"pointerId": 1, "pointerType": "touch"})
    expect(one.page.locator("#action")).to_have_text("right")
    button.dispatch_event("pointerup", {"pointerId": 1, "pointerType": "touch"})
    expect(one.page.locator("#action")).to_have_text("noop")


def test_the_keyboard_alone_reaches_everything_and_shows_where_it_is(player: Any, url: str) -> None:
    one = player(reduced_motion="reduce").open(url, "#seed=7")
    one.step(1)
    wanted = {"share", "play", "branch", "timeline", "seed", "temperature", "open-beginnings"}
    reached = set()
    for _ in range(40):
        one.press("Tab")
        id, outline = one.page.evaluate(
            "(at => [at.id, getComputedStyle(at).outlineStyle])(document.activeElement)"
        )
        reached.add(id)
        assert outline != "none" or id == "", id  # a radio's label has the outline
    assert wanted <= reached


def test_time_goes_back_and_forth(player: Any, url: str) -> None:
    one = player().open(url, "#seed=7")
    seen = [one.pixels]
    for _ in range(4):
        one.step(1)
        seen.append(one.pixels)
    one.press(",", ",")
    expect(one.page.locator("#steps")).to_have_text("2 / 4")
    assert one.pixels == seen[2]
    one.page.locator("#timeline").fill("1")
    expect(one.page.locator("#steps")).to_have_text("1 / 4")
    one.press("b")  # the steps after it are discarded
    expect(one.page.locator("#branches li")).to_have_count(1)
    expect(one.page.locator("#steps")).to_have_text("1")
    one.step(3)
    assert one.pixels == seen[4]
    one.page.get_by_role("button", name="Go on from the branch at step 1").click()
    expect(one.page.locator("#steps")).to_have_text("1")
    one.step(1)
    assert one.pixels == seen[2]
    one.page.get_by_role("button", name="Drop the branch at step 1").click()
    expect(one.page.locator("#branches li")).to_have_count(0)


def test_a_branch_of_a_step_whose_picture_is_forgotten_has_it_again(player: Any, url: str) -> None:
    one = player()
    kept, shortest = "MOST_PICTURE_BYTES = 48 * 2 ** 20", "MOST_PICTURE_BYTES = 1"

    def shorten(route: Any) -> None:
        text = route.fetch().text()
        assert kept in text
        route.fulfill(content_type="text/javascript", body=text.replace(kept, shortest))

    one.page.route("**/dream/history.js", shorten)  # to two pictures
    one.open(url, "#seed=7")
    one.step(1)
    seen = one.pixels
    one.step(4)
    one.page.locator("#timeline").fill("1")
    expect(one.page.locator("#overlay-title")).to_have_text("No picture kept")
    one.press("b")
    expect(one.page.locator("#branches li")).to_have_count(1)
    expect(one.page.locator("#steps")).to_have_text("1")
    assert one.pixels == seen
    shown = "document.querySelector('#branches canvas').toDataURL()"
    assert one.page.evaluate(shown) == seen
    one.step(3)
    one.press("b")
    expect(one.page.locator("#branches li")).to_have_count(2)
    one.page.get_by_role("button", name="Go on from the branch at step 1").click()
    expect(one.page.locator("#steps")).to_have_text("1")
    assert one.pixels == seen


def test_branches_of_worlds_that_show_otherwise_stand_side_by_side(player: Any, url: str) -> None:
    one = player().open(url, "#world=linear&seed=3")
    one.press("b")
    expect(one.page.locator("#branches li")).to_have_count(1)
    one.page.select_option("#world", "takecover")
    expect(one.page.locator("#screen")).to_be_visible()
    one.step(1)
    one.press("b")
    expect(one.page.locator("#branches li")).to_have_count(2)
    sizes = "[...document.querySelectorAll('#branches canvas')].map(({ width }) => width)"
    assert one.page.evaluate(sizes) == [192, 64]  # bars, and a frame
    one.page.get_by_role("button", name="Go on from the branch at step 0").click()
    expect(one.page.locator("#numbers")).to_be_visible()
    one.step(1)
    one.press("b")
    expect(one.page.locator("#branches li")).to_have_count(3)


def test_futures_are_shown(player: Any, url: str) -> None:
    one = player().open(url, "#seed=7")
    expect(one.page.locator("#futures figure")).to_have_count(6)
    expect(one.page.locator("#ends-text")).to_contain_text("of 24 end within 35 steps")


@pytest.mark.parametrize("key", ["c", "p"])
def test_the_controller_and_the_planner_play(player: Any, url: str, key: str) -> None:
    one = player().open(url, "#seed=7")
    one.press(key, "Space")
    one.wait_for_step(30)
    name = {"c": "controller", "p": "planner"}[key]
    assert one.page.evaluate("document.forms.driver.elements.driver.value") == name
    one.page.keyboard.press("ArrowRight")  # a person takes over
    assert one.page.evaluate("document.forms.driver.elements.driver.value") == "person"
    expect(one.page.locator(".notice")).to_have_count(0)


def test_a_dream_begins_at_a_real_frame_and_at_another_temperature(player: Any, url: str) -> None:
    one = player().open(url, "#seed=7")
    drawn = one.pixels
    one.page.click("#open-beginnings")
    expect(one.page.locator("#beginnings-list li")).to_have_count(24)
    one.page.get_by_role("button", name="Begin at real frame 12").click()
    expect(one.page.locator("#start")).to_have_text("real frame 12")
    assert "start=12" in one.page.url
    assert one.pixels != drawn
    one.step(2)
    one.page.locator("#temperature").fill("0.5")
    expect(one.page.locator("#steps")).to_have_text("0")
    assert "temperature=0.5" in one.page.url
    assert "seed=7" in one.page.url


def test_a_dream_that_ends_says_so_and_can_be_rewound(player: Any, url: str) -> None:
    fields = {"policy": {"kind": "constant", "action": 0}, "max_steps": 200, "temperature": 1.3}
    episodes = httpx.post(f"{url}/rollout", json={**fields, "seeds": list(range(100))}).json()
    length, seed = min(zip(episodes["lengths"][0], range(100), strict=True))
    one = player().open(url, f"#seed={seed}&temperature=1.3")
    one.page.select_option("#rate", "60")
    one.press("Space")
    expect(one.page.locator("#overlay-title")).to_have_text(f"The dream ended at step {length}")
    one.press(",", ",")
    expect(one.page.locator("#steps")).to_have_text(f"{length - 2} / {length}")
    one.press("Space")
    expect(one.page.locator("#overlay-title")).to_have_text(f"The dream ended at step {length}")


def test_a_world_of_continuous_actions_has_sliders(player: Any, url: str) -> None:
    one = player().open(url, "#world=box&seed=3")
    one.page.locator("#sliders input").nth(1).fill("0.25")
    one.wait_for_step(3)
    one.pause()
    expect(one.page.locator("#action")).to_contain_text("0.25")
    expect(one.page.locator("input[value=controller]")).to_be_disabled()
    one.press("l")
    one.page.wait_for_function("location.hash.includes('actions=')")
    assert ",0.25" in one.page.url


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ("#seed=7&start=9999", "the bank of takecover has entries 0 to 255"),
        ("#seed=seven", "seed is no number"),
        ("#world=nowhere", "The server does not have this world"),
        ("#seed=7&actions=1~x", "1~x is no action"),
    ],
)
def test_what_is_wrong_with_a_link_is_said_and_another_dream_begins(
    player: Any, url: str, fragment: str, said: str
) -> None:
    one = player().open(url, fragment)
    expect(one.page.get_by_role("alert")).to_contain_text(said)
    one.step(1)
