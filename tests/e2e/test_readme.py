"""The README's tour, run as printed, against the real server."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRINTED_URL = "http://127.0.0.1:8000"
PATIENCE_S = 120
# curl's -s hides errors; this makes it fail
CURLRC = "fail\nshow-error\n"


def blocks() -> list[tuple[str, str]]:
    """Return the language and text of the tour's fenced blocks, in order."""
    readme = (ROOT / "README.md").read_text()
    tour = re.search(r"^## A tour$(.*?)^## ", readme, re.MULTILINE | re.DOTALL)
    assert tour is not None
    return re.findall(r"^```(\w+)\n(.*?)^```$", tour[1], re.MULTILINE | re.DOTALL)


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


def test_the_tour_has_curl_and_python() -> None:
    assert [language for language, _ in blocks()] == ["sh", "sh", "python"]


def test_the_tour_runs_as_it_is_printed(serve, bundle, tmp_path) -> None:
    printed = []
    with serve(bundle) as served:
        for language, text in blocks():
            assert PRINTED_URL in text
            printed.append(run(language, text.replace(PRINTED_URL, served.url), tmp_path))
    stepped, planned, dreamt = printed
    assert '"session_id":"tour"' in stepped
    assert '"planner":"cem"' in planned
    assert re.search(r"^step \d+: reward 1\.0, frame \(64, 64, 3\)$", dreamt)
