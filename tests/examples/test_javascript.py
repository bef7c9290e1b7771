"""The JavaScript examples and those of docs/javascript.md, in chromium and in Node."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import playwright
import pytest
from playwright.sync_api import Browser, Page, expect

ROOT = Path(__file__).parents[2]
JAVASCRIPT = ROOT / "examples" / "javascript"
PRINTED_URL, PRINTED_STREAM = "http://127.0.0.1:8000", "ws://127.0.0.1:8000"
NODE = Path(playwright.__file__).parent / "driver" / "node"  # playwright brings its own
PATIENCE_MS = 30_000  # for a busy machine
PIXELS = "document.querySelector('canvas').toDataURL()"

expect.set_options(timeout=PATIENCE_MS)


def block(language: str) -> str:
    """Return the page's only block in a language."""
    text = (ROOT / "docs" / "javascript.md").read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return an empty page, whose scripts must not have failed at the end."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert not errors


def assert_plays(page: Page) -> None:
    """Assert that the dream advances and that its picture changes."""
    page.wait_for_function("/^step [1-9]/.test(document.getElementById('status').textContent)")
    before = page.evaluate(PIXELS)
    step = int(page.inner_text("#status").split()[1])
    page.wait_for_function(
        "step => parseInt(document.getElementById('status').textContent.split(' ')[1]) > step + 3",
        arg=step,
    )
    assert page.evaluate(PIXELS) != before


@pytest.mark.parametrize("transport", ["", "&stream"])
def test_a_page_of_another_origin_plays_a_dream(
    page: Page, url: str, pages: tuple[Path, int], transport: str
) -> None:
    page.goto(f"http://localhost:{pages[1]}/?server={url}{transport}")
    assert_plays(page)
    page.keyboard.down("ArrowRight")
    assert_plays(page)


@pytest.mark.parametrize("transport", ["", "&stream"])
def test_a_page_of_an_origin_that_is_not_allowed_says_which_one_to_allow(
    page: Page, url: str, pages: tuple[Path, int], transport: str
) -> None:
    origin = f"http://127.0.0.1:{pages[1]}"
    page.goto(f"{origin}/?server={url}{transport}")
    advice = f"Does {url} run, with DREAMSERVE_ALLOWED_ORIGINS={origin}?"
    expect(page.locator("#status")).to_contain_text(advice)


def test_the_documented_page_plays_from_a_web_server(
    page: Page, url: str, pages: tuple[Path, int]
) -> None:
    (pages[0] / "documented.html").write_text(block("html").replace(PRINTED_URL, url))
    page.goto(f"http://localhost:{pages[1]}/documented.html")
    assert_plays(page)


def test_the_documented_page_plays_from_a_file(page: Page, url: str, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    file.write_text(block("html").replace(PRINTED_URL, url))
    page.goto(file.as_uri())
    assert_plays(page)


def test_the_documented_socket_samples_plans_and_steps(
    run: Callable[..., str], url: str, tmp_path: Path
) -> None:
    script = block("js").replace(PRINTED_STREAM, url.replace("http", "ws"))
    (tmp_path / "stream.mjs").write_text(script)
    printed = run(NODE, "stream.mjs")
    assert re.fullmatch(r"step 1: [0-4] of 4 random futures survive 20 steps\n", printed)


def test_the_terminal_shows_a_planned_dream(run: Callable[..., str], url: str) -> None:
    lines = run(NODE, JAVASCRIPT / "terminal.mjs", "2", url).splitlines()
    assert [bool(re.match(r"step \d: action [012], imagined return ", line)) for line in lines] == [
        *([False] * 32 + [True]) * 2
    ]
    assert all(line.count("▀") == 64 for line in lines[:32])


@pytest.mark.parametrize("name", ["index.html", "dream.mjs", "terminal.mjs"])
def test_a_file_begins_with_what_it_does_and_fits_on_a_page(name: str) -> None:
    lines = (JAVASCRIPT / name).read_text().splitlines()
    assert any(re.match(r"(//|<!--) [A-Z].*\.", line) for line in lines[:2])
    assert len(lines) < 80


def test_the_examples_name_the_address_that_the_server_has_by_default() -> None:
    for text in (block("html"), *(path.read_text() for path in JAVASCRIPT.glob("[it]*"))):
        assert PRINTED_URL in text
    assert PRINTED_STREAM in block("js")
