"""The playground in a real browser: Debian's chromium, without a window."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from dreamserve_training.evaluation.analytic import LinearQuadratic, write_world

# relative, as the tests are not installed
from ...service.conformance.vector_worlds import CATEGORICAL, DETERMINISTIC  # noqa: TID252
from ...service.conformance.worlds import write_world as write_vectors  # noqa: TID252

PATIENCE_MS = 20_000  # for a machine that is busy with other things
PIXELS = "document.getElementById('screen').toDataURL()"  # a PNG, which loses nothing
LOST = re.compile(r"WebSocket connection to .* failed|Failed to load resource")

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Player:
    """A page on which somebody plays, and everything that the browser complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    may_lose_server: bool = False  # then the browser's own reports of that are no complaints

    def open(self, url: str, fragment: str = "") -> "Player":
        """Open the playground and wait for the first frame."""
        self.page.goto(f"{url}/play{fragment}")
        expect(self.page.locator("#overlay")).to_be_visible()
        return self

    def press(self, *keys: str) -> None:
        """Press and release keys, one after another."""
        for key in keys:
            self.page.keyboard.press(key)

    def step(self, count: int) -> None:
        """Take single steps, each once the one before is there."""
        for _ in range(count):
            before = self.steps
            self.press(".")
            expect(self.page.locator("#steps")).to_have_text(str(before + 1))

    def wait_for_step(self, step: int) -> None:
        """Wait until the dream is at a step or beyond it."""
        self.page.wait_for_function(
            "step => parseInt(document.getElementById('steps').textContent) >= step", arg=step
        )

    def pause(self) -> int:
        """Pause, and return the step that is shown once no more frames arrive."""
        self.press("Space")
        expect(self.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
        # Steps in flight have arrived when the server has answered what was asked after them.
        self.press("b")
        expect(self.page.locator("#branches li")).to_have_count(1)
        return self.steps

    @property
    def steps(self) -> int:
        """The step that is shown."""
        return int(self.page.inner_text("#steps").split(" / ")[0])

    @property
    def pixels(self) -> str:
        """The picture of the dream."""
        picture: str = self.page.evaluate(PIXELS)
        return picture


Open = Callable[..., Player]


@pytest.fixture
def player(browser: Browser) -> Iterator[Open]:
    """Return what opens a page for one more player; at the end none may have complaints."""
    players: list[Player] = []
    contexts = []

    def new(**options: Any) -> Player:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        one = Player(page)
        players.append(one)

        def complain(message: ConsoleMessage) -> None:
            is_expected = one.may_lose_server and LOST.search(message.text)
            if message.type in ("error", "warning") and not is_expected:
                one.complaints.append(message.text)

        page.on("console", complain)
        page.on("pageerror", lambda error: one.complaints.append(str(error)))
        return one

    yield new
    for context in contexts:
        context.close()
    assert not [complaint for one in players for complaint in one.complaints]


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the worlds `box`, of continuous actions, `classes` and `linear`, without pictures."""
    folder = tmp_path_factory.mktemp("worlds")
    box = LinearQuadratic(
        a=[[0.9, 0.1], [0.0, 0.9]],
        b=[[0.2, 0.0], [0.0, 0.2]],
        q=[[1.0, 0.0], [0.0, 1.0]],
        r=[[0.1, 0.0], [0.0, 0.1]],
        low=[-1.0, 0.0],
        high=[1.0, 0.5],
        starts=[[1.0, -1.0], [0.5, 0.5]],
        sigma=0.1,
    )
    written = [
        write_world(folder / "box", box),
        write_vectors(folder / "classes", world=CATEGORICAL),
        write_vectors(folder / "linear", world=DETERMINISTIC),
    ]
    return [str(path) for path in written]


@pytest.fixture(scope="session")
def url(serve: Any, takecover: Path, worlds: list[str]) -> Iterator[str]:
    """Return the address of a server for all players, who get takecover unless they ask."""
    with serve(takecover, *worlds) as served:
        yield served.url
