"""The server goes away and comes back; the dream goes on."""

import re
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import WebSocketRoute, expect

# relative, as the tests are not installed
from ...service.conformance.vector_worlds import CATEGORICAL, DETERMINISTIC  # noqa: TID252
from ...service.conformance.worlds import write_world as write_vectors  # noqa: TID252

AGAIN = "The server no longer had this dream. It was dreamt again from its seed"


def test_a_killed_server_is_missed_and_its_dream_goes_on_when_it_is_back(
    player: Any, serve: Any, takecover: Any
) -> None:
    with serve(takecover) as served:
        one = player().open(served.url, "#seed=7")
        one.may_lose_server = True
        one.press("Space")
        one.wait_for_step(12)
        step = one.pause()
        frame = one.pixels
        one.press("Space")
        one.wait_for_step(step + 5)
        served.stop(signal.SIGKILL)
        notice = one.page.get_by_text("The server does not answer. The dream waits for it.")
        expect(notice).to_be_visible()
        expect(one.page.locator("#connection")).to_have_text("reconnecting")
        seen = one.steps
    with serve(takecover, "--port", str(urlsplit(served.url).port)):
        expect(notice).to_be_hidden()
        expect(one.page.get_by_text(AGAIN)).to_be_visible()
        one.wait_for_step(seen + 5)
        one.press("Space")
        one.page.locator("#timeline").fill(str(step))
        assert one.pixels == frame
        one.press("Space")  # back to a step before the restart, and on from there
        one.wait_for_step(step + 3)


def test_a_dream_survives_its_socket(player: Any, url: str) -> None:
    sockets: list[WebSocketRoute] = []

    def through(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    one = player()
    one.may_lose_server = True
    one.page.route_web_socket(re.compile(r"/stream\?"), through)
    one.open(url, "#seed=7")
    one.press("Space")
    one.wait_for_step(5)
    sockets[0].close(code=1012)
    one.wait_for_step(one.steps + 10)
    assert len(sockets) == 2
    expect(one.page.get_by_text(AGAIN)).to_have_count(0)
    step, frame = one.pause(), one.pixels
    undisturbed = player()
    undisturbed.may_lose_server = True
    undisturbed.open(url, f"#seed=7&actions=0~{step}")
    undisturbed.press("Space")
    expect(undisturbed.page.locator("#steps")).to_have_text(str(step))
    expect(undisturbed.page.locator(".notice")).to_contain_text("The recording ends here")
    assert undisturbed.pixels == frame


def test_a_lost_session_is_said_and_dreamt_again(player: Any, url: str) -> None:
    one = player()
    one.may_lose_server = True
    ids: list[str] = []
    one.page.on(
        "websocket",
        lambda socket: socket.on(
            "framesent",
            lambda sent: ids.extend(
                re.findall(rb"[0-9a-f]+--play-[0-9a-f]{16}", sent)
                if isinstance(sent, bytes)
                else ()
            ),
        ),
    )
    one.open(url, "#seed=7")
    one.press("Space")
    one.wait_for_step(5)
    assert httpx.delete(f"{url}/sessions/{ids[0].decode()}").status_code == 204
    expect(one.page.get_by_text(AGAIN)).to_be_visible()
    one.wait_for_step(one.steps + 5)


def test_a_page_tells_a_load_balancer_one_route_for_its_socket_and_all_its_sessions(
    player: Any, url: str
) -> None:
    one = player()
    one.may_lose_server = True
    urls: list[str] = []
    sent: list[bytes] = []
    one.page.on("websocket", lambda socket: urls.append(socket.url))
    one.page.on("websocket", lambda socket: socket.on("framesent", lambda one: sent.append(one)))
    one.open(url)
    one.step(2)
    one.press("b")
    expect(one.page.locator("#branches li")).to_have_count(1)
    route = urls[0].rpartition("/stream?session_id=")[2]
    ids = re.findall(rb"([0-9a-f]{16})--(play|branch)-", b"".join(sent))
    assert {kind for _, kind in ids} == {b"play", b"branch"}
    assert {session_route.decode() for session_route, _ in ids} == {route}


def served_again(one: Any, serve: Any, served: Any, world: Any) -> Any:
    """Kill the server and return one of another world at its address."""
    one.may_lose_server = True
    served.stop(signal.SIGKILL)
    expect(one.page.locator("#connection")).to_have_text("reconnecting")
    return serve(world, "--port", str(urlsplit(served.url).port))


@pytest.mark.parametrize("steps", [0, 2])
def test_a_world_that_was_replaced_under_its_name_is_said_and_can_be_played(
    player: Any, serve: Any, tmp_path: Path, steps: int
) -> None:
    old = write_vectors(tmp_path / "old", world=DETERMINISTIC, name="mine")
    new = write_vectors(tmp_path / "new", world=CATEGORICAL, name="mine")
    with serve(old) as served:
        one = player().open(served.url, "#seed=3")
        one.step(steps)
        one.press("b")
        expect(one.page.locator("#branches li")).to_have_count(1)
        again = served_again(one, serve, served, new)
    with again:
        changed = one.page.get_by_role("alert").get_by_text("world has changed")
        expect(changed).to_be_visible()
        one.page.get_by_role("alert").get_by_role("button", name="Dismiss").click()
        one.press("n")
        expect(one.page.locator("#numbers li > span")).to_have_text(["x", "y", "speed"])
        one.step(2)
        expect(one.page.locator("#futures figure")).to_have_count(6)
        one.page.get_by_role("button", name="Go on from the branch").click()
        expect(changed).to_be_visible()
        one.step(1)


def test_a_world_that_only_names_its_actions_otherwise_is_another_one(
    player: Any, serve: Any, tmp_path: Path
) -> None:
    spaces = [
        {"type": "Discrete", "n": 3, "names": names}
        for names in (["stop", "left", "right"], ["stop", "up", "down"])
    ]
    old, new = (
        write_vectors(tmp_path / str(i), name="mine", action_space=space)
        for i, space in enumerate(spaces)
    )
    actions = "#buttons .action"
    with serve(old) as served:
        one = player().open(served.url, "#seed=3")
        one.step(1)
        again = served_again(one, serve, served, new)
    with again:
        expect(one.page.get_by_role("alert")).to_contain_text("world has changed")
        one.press("r")
        expect(one.page.get_by_role("button", name="up", exact=True)).to_be_visible()
        expect(one.page.locator(actions)).to_have_count(3)
        one.step(1)
