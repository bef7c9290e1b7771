"""An nginx of a test's own, the commands and files in the documents, and what Compose sets."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
NginxCommand = Callable[[str], list[str]]


def _section(title: str) -> str:
    found = re.search(
        rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)",
        (ROOT / "docs/deploy.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert found is not None, title
    return found[1]


@pytest.fixture(scope="session")
def section() -> Callable[[str], str]:
    """Return what returns the text under a title of docs/deploy.md."""
    return _section


@pytest.fixture(scope="session")
def commands() -> Callable[[str], list[str]]:
    """Return what returns the commands under a title of docs/deploy.md."""
    return lambda title: re.findall(r"^    (\S.*)$", _section(title), re.MULTILINE)


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """Return compose.yaml with its anchors resolved, as `docker compose config` would print it."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return content


@pytest.fixture(scope="session")
def compose_settings(compose: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a server of compose.yaml, if the reader sets none."""
    given = compose["services"]["dreamserve-1"]["environment"]
    return {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(value)) for name, value in given.items()}


@pytest.fixture
def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture
def nginx_command(tmp_path: Path) -> NginxCommand:
    """Return what returns the command of an nginx whose block `http` holds a text.

    Paths in /etc/nginx/dreamserve are those of deploy/nginx.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")

    def command(text: str) -> list[str]:
        text = text.replace("/etc/nginx/dreamserve", str(ROOT / "deploy/nginx"))
        temporary = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in TEMPORARY)
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {temporary}\n{text}\n}}\n"
        )
        return [program, "-e", "stderr", "-p", str(tmp_path), "-c", "nginx.conf"]

    return command


@pytest.fixture
def nginx_faults(nginx_command: NginxCommand) -> Callable[[str], str]:
    """Return what returns what nginx has against a text in its block `http`; empty if nothing."""

    def faults(text: str) -> str:
        command = [*nginx_command(text), "-t", "-q"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.stderr or ("no reason" if done.returncode else "")

    return faults


@pytest.fixture
def running_nginx(
    nginx_command: NginxCommand, free_port: int
) -> Callable[[str], AbstractContextManager[str]]:
    """Return what runs nginx with a text in its block `http`, and yields its URL.

    All that listens on port 80 listens on a free port of 127.0.0.1.
    """

    @contextmanager
    def running(text: str) -> Iterator[str]:
        text = re.sub(r"listen 80\b", f"listen 127.0.0.1:{free_port}", text)
        text = re.sub(r"listen \[::\]:80\b.*?;", "", text)
        with subprocess.Popen(nginx_command(text)) as process:
            try:
                _wait_until_it_listens(free_port, process)
                yield f"http://127.0.0.1:{free_port}"
            finally:
                process.terminate()

    return running


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, f"nginx exited with {process.returncode}"
            assert time.monotonic() < until_s, "nginx never listened"


@pytest.fixture(scope="session")
def takecover_world() -> Any:
    """Return the world of the image, on the CPU."""
    from dreamserve.loading import load_world  # imported here as few tests need it

    return load_world(ROOT / "bundles/takecover", "onnx", 1)
