"""A server for all examples, a web server for their pages, and a browser without a window."""

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0  # for a busy machine


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line of log for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@contextmanager
def _publish(folder: Path) -> Iterator[int]:
    """Serve a folder on a free port of this machine, as `python3 -m http.server` does."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(PATIENCE_S)


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """Return a folder that a web server publishes, with a copy of the examples, and its port."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(ROOT / "examples" / "javascript", folder, dirs_exist_ok=True)
    with _publish(folder) as port:
        yield folder, port


@pytest.fixture(scope="session")
def url(pages: tuple[Path, int]) -> Iterator[str]:
    """Return the URL of a server of the bundled world; it allows pages of localhost and files."""
    command = [str(Path(sys.executable).with_name("dreamserve")), "serve", "--port", "0"]
    origins = {"DREAMSERVE_ALLOWED_ORIGINS": f"http://localhost:{pages[1]},null"}
    with subprocess.Popen(
        [*command, str(ROOT / "bundles" / "takecover")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | origins,
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], PATIENCE_S)[0], "printed nothing"
            url = process.stdout.readline().strip().rsplit(" ", 1)[-1]
            until_s = time.monotonic() + PATIENCE_S
            while httpx.get(f"{url}/readyz").status_code != 200:
                assert time.monotonic() < until_s, "never ready"
            yield url
        finally:
            process.kill()


@pytest.fixture
def run(tmp_path: Path, url: str) -> Callable[..., str]:
    """Return what runs a command in an empty folder and returns its output; it must exit with 0."""

    def run(*command: str | Path) -> str:
        ran = subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    return run
