"""How many frames a second do people see who play at once?

    python benchmarks/playground.py                # 4 players, 3 rounds of 10 s; about a minute
    python benchmarks/playground.py --players 8

A server with bundles/takecover and one headless chromium (Debian's, `apt-get install chromium`),
in which every player has a page of their own, at the playground's 35 steps a second. Counted in the
pages: each picture that is put onto the canvas of the dream. The server and the browser, which
paints without a GPU, share the machine.
"""

import argparse
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

import load
from tables import print_circumstances, print_table

TAKECOVER = load.HERE.parent / "bundles" / "takecover"
WANTED = 30.0  # frames a second for everybody
PATIENCE_MS = 60_000
# Runs before the page's own scripts.
COUNT_FRAMES = """
  window.frames_drawn = 0;
  const put = CanvasRenderingContext2D.prototype.putImageData;
  CanvasRenderingContext2D.prototype.putImageData = function (...image) {
    if (this.canvas.id === "screen") window.frames_drawn++;
    return put.apply(this, image);
  };
"""
READ = "[window.frames_drawn, performance.now()]"
# People who run from wall to wall, in calm dreams, each of which lasts for 1,500 steps or more.
SEEDS = (0, 1, 3, 4, 6, 9, 10, 11, 12, 14, 16, 17, 18, 19, 21, 22)
FRAGMENT = "#seed={seed}&temperature=0.5&actions=1~50" + "_2~110_1~110" * 20


@contextmanager
def players(port: int, count: int) -> Iterator[list[Page]]:
    """Open a page for each player, all playing."""
    path = shutil.which("chromium")
    if path is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        pages = []
        for seed in SEEDS[:count]:
            page = browser.new_context().new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.add_init_script(COUNT_FRAMES)
            page.goto(f"http://127.0.0.1:{port}/play{FRAGMENT.format(seed=seed)}")
            page.wait_for_selector("#overlay:not([hidden])")
            page.keyboard.press("Space")
            pages.append(page)
        for page in pages:
            page.wait_for_function("() => window.frames_drawn > 20")
        yield pages
        browser.close()


def frames_per_second(pages: list[Page], seconds: float) -> list[float]:
    """Return what each page draws, within the same seconds."""
    before = [page.evaluate(READ) for page in pages]
    pages[0].wait_for_timeout(1e3 * seconds)
    after = [page.evaluate(READ) for page in pages]
    if any(page.locator("#overlay").is_visible() for page in pages):
        sys.exit("a dream ended while its frames were counted; the figures would be too low")
    return [
        1e3 * (drawn - drawn_before) / (now_ms - before_ms)
        for (drawn_before, before_ms), (drawn, now_ms) in zip(before, after, strict=True)
    ]


def main() -> None:
    """Measure in rounds and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--players", type=int, default=4, choices=range(1, len(SEEDS) + 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    port = load.free_port()
    rounds: list[list[float]] = []
    cores = f"0-{(os.cpu_count() or 1) - 1}"
    with load.serving(load.dreamserve(TAKECOVER, port), port, cores=cores):
        for _ in range(arguments.rounds):
            with players(port, arguments.players) as pages:
                rounds.append(frames_per_second(pages, arguments.seconds))
    rows = [
        [f"player {number}", f"{statistics.median(seen):.1f}", f"{min(seen):.1f}"]
        for number, seen in enumerate(zip(*rounds, strict=True), 1)
    ]
    print_table(["", "frames/s, median round", "worst round"], rows)
    worst = min(map(min, rounds))
    print(f"\nworst of all: {worst:.1f} frames/s; wanted {WANTED:.0f}")
    print_circumstances(["onnxruntime", "playwright"], cores="the server and the browser on all")


if __name__ == "__main__":
    main()
