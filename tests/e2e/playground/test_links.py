"""A link is a dream: opened twice, it has the same frames."""

import re
from typing import Any

import msgpack
import pytest
from playwright.sync_api import WebSocketRoute, expect

RECORDED = "#world=takecover&seed=7&temperature=1&actions=1~6"


def frames(player: Any, url: str, seed: int) -> list[str]:
    """Return the frames of a dream in which one stands, goes right, and stands again."""
    one, seen = player().open(url, f"#seed={seed}&temperature=1"), []
    for turn in (None, one.page.keyboard.down, one.page.keyboard.up):
        if turn is not None:
            turn("ArrowRight")
        one.step(2)
        seen.append(one.pixels)
    return seen


def test_a_seed_opened_twice_shows_the_same_frames(player: Any, url: str) -> None:
    first, second, other = (frames(player, url, seed) for seed in (7, 7, 8))
    assert first == second
    assert all(one != another for one, another in zip(first, other, strict=True))


def test_a_link_replays_the_whole_dream(player: Any, url: str) -> None:
    one = player().open(url, "#seed=11")
    for key in ("ArrowLeft", "ArrowRight"):
        one.page.keyboard.down(key)
        one.wait_for_step(one.steps + 6)
        one.page.keyboard.up(key)
    step = one.pause()
    one.press("l")
    one.page.wait_for_function("location.hash.includes('actions=')")
    another = player().open(url, one.page.evaluate("location.hash"))
    expect(another.page.locator("#overlay-hint")).to_contain_text(f"{step} steps")
    another.press("Space")
    expect(another.page.locator(".notice")).to_contain_text("The recording ends here")
    expect(another.page.locator("#steps")).to_have_text(str(step))
    assert another.pixels == one.pixels
    surprise = one.page.inner_text("#surprise")
    expect(another.page.locator("#surprise")).to_have_text(surprise)


def test_a_recording_is_replayed_to_its_end_after_its_last_answers_were_lost(
    player: Any, url: str
) -> None:
    """The answers from step 3 on are lost, and the socket once the last step was sent."""
    lost: list[Any] = []

    def through(route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        if lost:
            return

        def answered(message: str | bytes) -> None:
            body = msgpack.unpackb(message)["body"]
            if body is None or body.get("step", 0) < 3:
                route.send(message)
            else:
                lost.append(body["step"])
                if body["step"] == 6:
                    route.close(code=1012)

        server.on_message(answered)

    one = player()
    one.may_lose_server = True
    one.page.route_web_socket(re.compile(r"/stream\?"), through)
    one.open(url, RECORDED)
    one.press("Space")
    expect(one.page.locator(".notice.info")).to_contain_text("The recording ends here")
    expect(one.page.locator("#steps")).to_have_text("6")
    expect(one.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    assert lost[-1] == 6
    other = player().open(url, RECORDED)
    other.press("Space")
    expect(other.page.locator(".notice")).to_contain_text("The recording ends here")
    assert one.pixels == other.pixels


def at_temperature_1(one: Any) -> None:
    one.page.locator("#temperature").fill("1")


def drawn(one: Any) -> None:
    one.page.get_by_role("button", name="Draw it").click()


@pytest.mark.parametrize(
    ("more", "change", "less"),
    [
        ("temperature=1.5", at_temperature_1, "temperature=1"),
        ("temperature=1&start=12", drawn, "temperature=1"),
        ("temperature=1&actions=1~6", lambda one: one.press("r"), "temperature=1"),
    ],
)
def test_the_address_names_the_dream_that_began_last(
    player: Any, url: str, more: str, change: Any, less: str
) -> None:
    one = player().open(url, f"#world=takecover&seed=7&{more}")
    assert one.page.url.endswith(f"#world=takecover&seed=7&{more}")
    change(one)
    expect(one.page).to_have_url(re.compile(f"#world=takecover&seed=7&{less}$"))


def test_an_address_without_a_world_keeps_its_recording(player: Any, url: str) -> None:
    one = player().open(url, "#seed=7&actions=1~6")
    expect(one.page).to_have_url(re.compile(f"{RECORDED}$"))


def test_the_address_follows_to_a_branch(player: Any, url: str) -> None:
    one = player().open(url, "#world=linear&seed=3")
    one.press("b")
    expect(one.page.locator("#branches li")).to_have_count(1)
    one.page.select_option("#world", "takecover")
    expect(one.page).to_have_url(re.compile("#world=takecover&seed=3&temperature=1$"))
    one.page.get_by_role("button", name="Go on from the branch at step 0").click()
    expect(one.page).to_have_url(re.compile("#world=linear&seed=3&temperature=1$"))
