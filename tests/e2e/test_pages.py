"""The code blocks of README and guides, run as printed, against the real server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PRINTED_URL = "http://127.0.0.1:8000"
PATIENCE_S = 120
# curl's -s hides errors; this makes it fail
CURLRC = "fail\nshow-error\n"


# What each page's blocks must print, in order.
DREAMT = r"^step \d+: reward 1\.0, frame \(64, 64, 3\)$"
PAGES = {
    "README.md": [r'"session_id":"tour"', r"^$", r'"planner":"cem"', DREAMT],
    "docs/index.md": [r'"step":1', r'"actions":\[', DREAMT, r"^64 dreams, \d+ of them ended$"],
    "docs/control.md": [r"^step 1: action \d, excess surprise [+-].*\n\d+ steps, \d+ deadlines"],
}


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the language and text of a page's fenced blocks, in order."""
    text = (ROOT / page).read_text()
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(language: str, text: str, folder: Path) -> str:
    """Run a block as a user would paste it; return its output."""
    (folder / ".curlrc").write_text(CURLRC)
    command = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
    done = subprocess.run(
        [*command, text],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=folder,
        env={**os.environ, "CURL_HOME": str(folder)},
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def url(serve, takecover) -> Iterator[str]:
    with serve(takecover) as served:
        yield served.url


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_as_printed(url: str, tmp_path, page: str) -> None:
    for (language, text), pattern in zip(blocks(page), PAGES[page], strict=True):
        assert PRINTED_URL in text
        printed = run(language, text.replace(PRINTED_URL, url), tmp_path)
        assert re.search(pattern, printed, re.MULTILINE | re.DOTALL), printed
        for name in re.findall(r"> (\w+\.png)$", text, re.MULTILINE):
            with Image.open(tmp_path / name) as picture:
                assert (picture.format, picture.size) == ("PNG", (64, 64))
