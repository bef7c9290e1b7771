"""A real Redis for the tests of stores."""

import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

START_S = 10.0
# `everysec`, the default, may hold a write back for 2 s after its reply
APPEND_ONLY = ("--appendonly", "yes", "--appendfsync", "always")


class RedisServer:
    """A Redis process on a free port of this machine, with an append-only file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process, and wait until it responds."""
        options = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder))
        self.process = subprocess.Popen(
            ["redis-server", *options, *APPEND_ONLY, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        client = redis.Redis(port=self.port, socket_timeout=1.0)
        for _ in range(int(START_S / 0.02)):
            try:
                client.ping()
                break
            except redis.RedisError:
                try:
                    self.process.wait(timeout=0.02)
                except subprocess.TimeoutExpired:
                    continue
                raise
        client.close()

    def kill(self) -> None:
        """End the process without warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=10)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def key() -> str:
    """Return a key that no other test uses."""
    return f"test {secrets.token_hex(8)}"
