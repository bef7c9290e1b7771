"""Take the pictures of the playground in docs/images/, in Debian's chromium.

    python docs/pictures.py

The controller plays, step by step, so that the moving picture is as smooth as the dream, however
busy the machine is.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).parent
BUNDLE = DOCS.parent / "bundles" / "takecover"
DESKTOP = {"width": 1280, "height": 860}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
LARGEST_BYTES, LARGEST_MOVING_BYTES = 200_000, 1_000_000
SHOTS, STEPS_A_SHOT, SHOT_MS, WIDTH = 48, 3, 85, 640
CLIP: Any = {"x": 44, "y": 50, "width": 1192, "height": 600}  # of the moving picture


@contextmanager
def served() -> Iterator[str]:
    """Serve the bundle and yield the server's address."""
    command = [str(Path(sys.executable).with_name("dreamserve")), "serve", str(BUNDLE)]
    with subprocess.Popen(
        [*command, "--port", "0", "--drain-s", "0"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()


def playing(browser: Browser, url: str, steps: int, **options: Any) -> Page:
    """Return a page on which the controller has taken some steps, with a branch on the way."""
    page = browser.new_context(**options).new_page()
    page.goto(f"{url}/play#seed=7&temperature=1")
    page.wait_for_selector("#overlay:not([hidden])")
    page.keyboard.press("c")
    for branch in range(1, 4):
        step(page, branch * steps // 3)
        page.keyboard.press("b")
        page.wait_for_selector(f"#branches li:nth-child({branch})")
    return page


def step(page: Page, to: int) -> None:
    """Take single steps up to a step."""
    for number in range(int(page.inner_text("#steps")) + 1, to + 1):
        page.keyboard.press(".")
        page.wait_for_selector(f"#steps:text-is('{number}')")


def still(page: Page, name: str) -> None:
    """Save the page as a picture of few colours, once the futures are there."""
    page.wait_for_timeout(2000)
    image = Image.open(BytesIO(page.screenshot())).convert("RGB")
    path = DOCS / "images" / name
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < LARGEST_BYTES, f"{name} has {path.stat().st_size} bytes"


def moving(page: Page, name: str) -> None:
    """Save some seconds of the dream as an animated picture."""
    shots = []
    began = int(page.inner_text("#steps"))
    for shot in range(SHOTS):
        step(page, began + shot * STEPS_A_SHOT)
        image = Image.open(BytesIO(page.screenshot(clip=CLIP))).convert("RGB")
        shots.append(image.resize((WIDTH, WIDTH * image.height // image.width)))
    palette = shots[-1].quantize(112, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    frames = [shot.quantize(palette=palette, dither=Image.Dither.NONE) for shot in shots]
    path = DOCS / "images" / name
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=SHOT_MS, loop=0, optimize=True
    )
    assert path.stat().st_size < LARGEST_MOVING_BYTES, f"{name} has {path.stat().st_size} bytes"


def main() -> None:
    """Take all pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        dark: dict[str, Any] = {"viewport": DESKTOP, "color_scheme": "dark"}
        page = playing(browser, url, 165, **dark)
        still(page, "playground-dark.png")
        moving(page, "playground.gif")
        still(
            playing(browser, url, 150, viewport=DESKTOP, color_scheme="light"),
            "playground-light.png",
        )
        still(playing(browser, url, 90, color_scheme="dark", **PHONE), "playground-phone.png")
        browser.close()


if __name__ == "__main__":
    main()
