"""What the Dockerfile runs, without Docker: its command, its health check and their variables."""

import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreamserve.cli import command_named
from dreamserve.cli.health import connection, served_options
from dreamserve.settings import Settings, option

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


def options_of(folder: Path, line: str) -> dict[str, Any]:
    """Return the options that the check reads from a first process with this command line."""
    (folder / "cmdline").write_bytes("\0".join([*line.split(), ""]).encode())
    return served_options(folder / "cmdline", command_named("serve"))


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
    def options(line: str) -> dict[str, Any]:
        return options_of(tmp_path, line)

    assert options(f"{program} serve") == {}
    wanted = {"port": 9000, "host": "::", "drain_s": 5.0}
    line = f"{program} serve /world {form.format(9000)} --host :: --drain-s 5 --unknown 1"
    assert options(line) == wanted
    assert options("/sbin/init --port 9000") == {}
    assert served_options(tmp_path / "none", command_named("serve")) == {}


@pytest.mark.parametrize("flag", ["access_log", "traces", "trust_torchscript"])
@pytest.mark.parametrize("line", ["/world {}", "{} /world", "{}", "{} --threads 1", "{} -- /world"])
def test_a_server_that_was_started_with_a_flag_is_asked_like_any_other(tmp_path, line, flag):
    found = options_of(tmp_path, f"dreamserve serve --port 9000 {line.format(option(flag))}")
    settings = Settings.load(**found)
    assert (settings.port, getattr(settings, flag)) == (9000, True)


def test_the_check_speaks_tls_to_a_server_whose_certificate_is_not_for_this_name(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-nodes", "-subj", "/CN=dreams.example.com", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(made, capture_output=True, check=True, timeout=PATIENCE_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def answer() -> None:
        with context.wrap_socket(listening.accept()[0], server_side=True) as one:
            one.recv(4096)
            one.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        with closing(connection(*listening.getsockname(), has_tls=True)) as http:
            http.request("GET", "/readyz")
            assert http.getresponse().status == 200
        thread.join(PATIENCE_S)


def test_the_image_runs_as_an_unprivileged_user_that_kubernetes_can_tell_from_root():
    assert re.search(r"^USER [1-9]\d+$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", DOCKERFILE, re.MULTILINE)


def test_both_devices_of_the_image_are_dependencies_that_the_service_has():
    project = (ROOT / "service/pyproject.toml").read_text()
    for runtime in re.findall(r"runtime='\"([\w-]+)(?:\[[\w,]+\])?(>=[\d.]+)\"'", DOCKERFILE):
        assert f'    "{"".join(runtime)};' in project
    assert "torch" not in re.sub(r"^#.*$", "", DOCKERFILE, flags=re.MULTILINE)
