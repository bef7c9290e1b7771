"""Two real servers that share a real Redis, each through a network of its own that can fail."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import dreamserve_client as sdk
from dreamserve.local import LocalClient

from .proxy import Proxy, proxy_to

COMMAND = str(Path(sys.executable).with_name("dreamserve"))
PATIENCE_S = 30.0  # for a busy machine
STORE_TIMEOUT_S = 0.5


class Server:
    """A server with a store, which can be ended and started again on its port."""

    def __init__(self, bundle: Path, store: str, *options: str, **variables: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [COMMAND, "serve", str(bundle), "--port", str(self.port)]
        self._command += ["--threads", "1", "--drain-s", "0", "--store", store, *options]
        self._variables = {"DREAMSERVE_STORE_TIMEOUT_S": str(STORE_TIMEOUT_S), **variables}
        self.process: subprocess.Popen[bytes] | None = None
        self.network: Proxy | None = None

    def start(self) -> "Server":
        """Start the process without waiting."""
        variables = os.environ | self._variables
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self._command, env=variables, stdout=quiet, stderr=quiet)
        return self

    def wait(self) -> "Server":
        """Wait until it is ready."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            assert self.process is not None
            assert self.process.poll() is None
            assert time.monotonic() < until_s
            try:
                if httpx.get(f"{self.url}/readyz", timeout=PATIENCE_S).status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.02)

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal, and wait for the end of the process."""
        self.send(number)
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    def client(self, **options) -> sdk.DreamClient:
        """Return a client that does not send anything again."""
        return sdk.DreamClient(self.url, **{"max_retries": 0, **options})


@pytest.fixture(scope="module")
def redis_server(running_redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def running_servers(redis_server, exported_bundle) -> Iterator[tuple[Server, Server]]:
    with ExitStack() as stack:
        servers = []
        for _ in range(2):
            network = stack.enter_context(proxy_to(redis_server.port))
            server = Server(exported_bundle, f"redis://127.0.0.1:{network.port}").start()
            stack.callback(server.end)
            server.network = network
            servers.append(server)
        yield servers[0].wait(), servers[1].wait()


@pytest.fixture
def servers(running_servers) -> tuple[Server, Server]:
    """Return two servers with one Redis, each with a network that works."""
    for server in running_servers:
        server.network.heal()
        with server.client(max_retries=8) as client:
            client.reset()
    return running_servers


@pytest.fixture
def clients(servers) -> Iterator[tuple[sdk.DreamClient, sdk.DreamClient]]:
    with servers[0].client() as first, servers[1].client() as second:
        yield first, second


@pytest.fixture
def new_server(exported_bundle) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server with a store, and waits until it is ready."""
    started: list[Server] = []

    def start(store: str, *options: str, **variables: str) -> Server:
        started.append(Server(exported_bundle, store, *options, **variables).start())
        return started[-1].wait()

    yield start
    for server in started:
        server.end()


@pytest.fixture(scope="session")
def undisturbed(exported_bundle) -> Callable[[int, int], list[np.ndarray]]:
    """Return a function of a seed and a number of steps to the latents of that dream."""
    local = LocalClient(exported_bundle)

    def latents(seed: int, steps: int) -> list[np.ndarray]:
        began = local.reset(seed=seed, temperature=0.0)
        return [local.step(began.session_id, step % 3).latent for step in range(1, steps + 1)]

    return latents
