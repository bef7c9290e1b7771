"""The server refuses a request; the page says why, and the dream goes on."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

Request = dict[str, Any]
STATUS = {"overloaded": 429, "rate_limited": 429, "session_moved": 503, "store_unavailable": 503}


def refuse(page: Page, code_for: Callable[[Request], str | None]) -> list[Callable[[], None]]:
    """Answer some requests of the page by a problem, before the server sees them.

    Problems whose code ends in " later" are sent when the returned functions are called.
    """
    later: list[Callable[[], None]] = []

    def through(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        def sent(message: str | bytes) -> None:
            assert isinstance(message, bytes)
            request = msgpack.unpackb(message)
            code = code_for(request)
            if code is None:
                return server.send(message)
            name = code.removesuffix(" later")
            problem = {"code": name, "status": STATUS[name], "detail": f"no {request['verb']}"}
            answer = msgpack.packb({"id": request["id"], "status": 503, "body": problem})
            if name == code:
                return route.send(answer)
            return later.append(lambda: route.send(answer))

        route.on_message(sent)

    page.route_web_socket(re.compile(r"/stream\?"), through)
    return later


def once(verb: str, code: str, number: int = 1) -> Callable[[Request], str | None]:
    """Return what refuses only the `number`th request of a verb."""
    seen: list[Request] = []

    def code_for(request: Request) -> str | None:
        if request["verb"] != verb:
            return None
        seen.append(request)
        return code if len(seen) == number else None

    return code_for


def plays_on(one: Any) -> None:
    """Expect that the dream advances by itself."""
    expect(one.page.get_by_role("button", name="Pause")).to_be_visible()
    one.wait_for_step(one.steps + 3)


def test_a_branch_that_a_full_server_refuses_is_told_once_and_the_dream_goes_on(
    player: Any, serve: Any, takecover: Path
) -> None:
    with serve(takecover, "--capacity", "2") as served:
        one = player().open(served.url, "#seed=7")
        one.may_lose_server = True  # at the end
        one.press("Space")
        one.wait_for_step(3)
        one.press("b")
        expect(one.page.locator("#branches li")).to_have_count(1)
        plays_on(one)
        one.press("b")
        alert = one.page.get_by_role("alert").get_by_text("The server is full")
        expect(alert).to_be_visible()
        plays_on(one)
        one.press("n")
        expect(one.page.locator("#overlay-title")).to_have_text("Play")
        one.page.get_by_role("button", name="Drop the branch").click()
        one.step(1)
        expect(one.page.locator("#branches li")).to_have_count(0)  # none was waiting
        one.press("b")
        expect(one.page.locator("#branches li")).to_have_count(1)


def test_what_waits_for_a_full_server_gives_way_to_what_is_asked_next(
    player: Any, url: str
) -> None:
    one = player()
    refuse(one.page, lambda asked: "overloaded" if asked["body"].get("seed") == 8 else None)
    one.open(url, "#seed=7")
    one.step(2)
    one.page.fill("#seed", "8")
    one.page.keyboard.press("Enter")
    expect(one.page.locator(".notice.wait")).to_contain_text("The server is full")
    one.page.locator("#play").click()
    plays_on(one)
    expect(one.page.locator("#seed")).to_have_value("7")
    expect(one.page.locator(".notice")).to_have_count(0)
    one.press("n")
    expect(one.page.locator("#overlay-title")).to_have_text("Play")
    expect(one.page.locator("#seed")).not_to_have_value("7")


def test_a_branch_that_the_server_cannot_copy_back_leaves_the_dream_as_it_was(
    player: Any, url: str
) -> None:
    one = player()

    def code_for(asked: Request) -> str | None:
        is_back = asked["verb"] == "fork" and "--play-" in asked["body"]["session_ids"][0]
        return "overloaded" if is_back else None

    refuse(one.page, code_for)
    one.open(url, "#seed=7")
    one.step(1)
    one.press("b")
    expect(one.page.locator("#branches li")).to_have_count(1)
    one.step(3)
    one.page.get_by_role("button", name="Go on from the branch at step 1").click()
    expect(one.page.locator(".notice.wait")).to_contain_text("The server is full")
    expect(one.page.locator("#steps")).to_have_text("4")
    one.press("Space")
    plays_on(one)
    expect(one.page.locator(".notice")).to_have_count(0)


@pytest.mark.parametrize("code", STATUS)
def test_a_step_that_is_refused_for_a_moment_is_taken_again_by_itself(
    player: Any, url: str, code: str
) -> None:
    one = player()
    refuse(one.page, once("step", code, number=4))
    one.open(url, "#seed=7")
    one.press("Space")
    expect(one.page.locator(".notice.wait")).to_contain_text(f"no step ({code}")
    one.wait_for_step(8)
    expect(one.page.locator(".notice.wait")).to_have_count(0)
    plays_on(one)
    step, frame = one.pause(), one.pixels
    undisturbed = player().open(url, f"#seed=7&actions=0~{step}")
    undisturbed.press("Space")
    expect(undisturbed.page.locator(".notice")).to_contain_text("The recording ends here")
    assert undisturbed.pixels == frame


def test_a_dream_goes_on_after_a_branch_whose_last_steps_were_refused(
    player: Any, url: str
) -> None:
    one = player()
    is_over: list[bool] = []

    def code_for(asked: Request) -> str | None:
        is_late = asked["verb"] == "step" and asked["body"]["step"] > 4 and not is_over
        return "rate_limited later" if is_late else None

    later = refuse(one.page, code_for)
    one.open(url, "#seed=7")
    one.press("Space")
    expect(one.page.locator("#steps")).to_have_text("4")
    one.press("b")  # the loop stops, with steps in flight
    is_over.append(True)
    for answer in later:
        answer()
    expect(one.page.locator("#branches li")).to_have_count(1)
    plays_on(one)
    expect(one.page.locator(".notice")).to_have_count(0)


def test_a_dream_goes_on_more_slowly_than_the_server_s_limit_and_says_so(
    player: Any, serve: Any, takecover: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMSERVE_REQUESTS_PER_S", "20")
    monkeypatch.setenv("DREAMSERVE_REQUEST_BURST", "40")
    with serve(takecover) as served:
        one = player().open(served.url, "#seed=7")
        one.may_lose_server = True  # at the end
        one.press("Space")
        said = one.page.locator(".notice.info")
        expect(said).to_contain_text("Too many requests: the dream goes on with")
        one.wait_for_step(one.steps + 30)
        expect(one.page.get_by_role("button", name="Pause")).to_be_visible()


def test_what_is_wrong_with_a_step_of_a_link_is_said(player: Any, url: str) -> None:
    for actions in ("9~2", "0~3_9"):
        one = player().open(url, f"#seed=7&actions={actions}")
        one.press("Space")
        expect(one.page.get_by_role("alert")).to_contain_text("invalid_action")
        expect(one.page.locator("#steps")).to_have_text("0" if actions == "9~2" else "3")


def test_what_a_server_is_too_busy_to_begin_is_begun_without_a_second_dream(
    player: Any, url: str
) -> None:
    one = player()
    refuse(one.page, once("reset", "overloaded"))
    one.open(url, "#seed=7")
    expect(one.page.locator("#seed")).to_have_value("7")
    expect(one.page.locator(".notice")).to_have_count(0)
