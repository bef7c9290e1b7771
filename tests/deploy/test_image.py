"""What the Dockerfile runs, without Docker: its command, its health check and their variables."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from dreamserve.cli.health import served_options

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
BIN = Path(sys.executable).parent
PATIENCE_S = 30.0


def words(instruction: str) -> list[str]:
    """Return the words of the JSON array that an instruction ends with."""
    (found,) = re.findall(rf"^{instruction} .*?(\[.*\])$", DOCKERFILE, re.MULTILINE)
    listed: list[str] = yaml.safe_load(found)
    return listed


def environment(**variables: str) -> dict[str, str]:
    """Return this environment with the image's variables; requests would go to a dead proxy."""
    own = dict(re.findall(r"(DREAMSERVE_\w+)=(\S+)", DOCKERFILE))
    assert own == {"DREAMSERVE_HOST": "0.0.0.0"}
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    return {**os.environ, **path, "DREAMSERVE_HOST": "127.0.0.1", **proxies, **variables}


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return str(listening.getsockname()[1])


@contextmanager
def served(*options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run the image's command until it says that it serves."""
    command = [*words("ENTRYPOINT"), *words("CMD"), "--threads", "1", *options]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(**variables), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], PATIENCE_S)[0], "printed nothing"
            assert "dreamserve" in process.stdout.readline()
            yield process
        finally:
            process.kill()


def health(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run the image's health check as it would run in the container."""
    return subprocess.run(
        words("HEALTHCHECK"),
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def healthy(**variables: str) -> bool:
    """Return whether the server becomes healthy; it warms up first."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        done = health(**variables)
        if "not_ready" not in done.stderr:
            return done.returncode == 0
    return False


def test_the_port_is_that_of_the_variable_and_the_check_asks_it_directly_in_spite_of_a_proxy():
    port = free_port()
    with served(DREAMSERVE_PORT=port) as process:
        assert healthy(DREAMSERVE_PORT=port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    done = health(DREAMSERVE_PORT=port)
    assert done.returncode == 1
    assert f"no response from 127.0.0.1 port {port}" in done.stderr


@pytest.mark.parametrize("form", ["--port {}", "--port={}"])
@pytest.mark.parametrize(
    "program",
    ["/opt/bin/dreamserve", "python /opt/bin/dreamserve", "/sbin/docker-init -- dreamserve"],
)
def test_an_option_of_the_container_s_server_overrides_the_setting(tmp_path, form, program):
    def options(line: str) -> dict[str, str]:
        (tmp_path / "cmdline").write_bytes("\0".join([*line.split(), ""]).encode())
        return served_options(tmp_path / "cmdline")

    assert options(f"{program} serve") == {}
    wanted = {"port": "9000", "host": "::"}
    assert options(f"{program} serve /world {form.format(9000)} --host ::") == wanted
    assert options("/sbin/init --port 9000") == {}
    assert served_options(tmp_path / "none") == {}


def test_the_image_runs_as_an_unprivileged_user_that_kubernetes_can_tell_from_root():
    assert re.search(r"^USER [1-9]\d+$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", DOCKERFILE, re.MULTILINE)


def test_both_devices_of_the_image_are_dependencies_that_the_service_has():
    project = (ROOT / "service/pyproject.toml").read_text()
    for runtime in re.findall(r"runtime='\"([\w-]+)(?:\[[\w,]+\])?(>=[\d.]+)\"'", DOCKERFILE):
        assert f'    "{"".join(runtime)};' in project
    assert "torch" not in re.sub(r"^#.*$", "", DOCKERFILE, flags=re.MULTILINE)
