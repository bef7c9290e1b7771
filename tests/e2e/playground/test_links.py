"""A link is a dream: opened twice, it has the same frames."""

from typing import Any

from playwright.sync_api import expect


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
