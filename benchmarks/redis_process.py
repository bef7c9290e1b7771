"""A Redis process of one's own, for benchmarks and tests: on a free port, with a log of appends."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

START_S = 20.0
# everysec, the default, may hold a write back for up to 2 s after its reply, so a Redis that is
# killed could lose steps that were answered.
APPEND_ONLY = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


@dataclass
class Redis:
    """A Redis server in `folder`; `prefix` is put before its command, to choose a core."""

    folder: Path
    prefix: Sequence[str] = ()
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Its URL, for --store."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process, on the same port as before, and wait until it responds."""
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        options = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder))
        self.process = subprocess.Popen(
            [*self.prefix, "redis-server", *options, *APPEND_ONLY], stdout=subprocess.DEVNULL
        )
        until_s = time.monotonic() + START_S
        while not self._responds():
            if self.process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError("redis-server does not start")
            time.sleep(0.02)

    def kill(self) -> None:
        """End the process without warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def _responds(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def is_installed() -> bool:
    """Return whether there is a Redis on this machine."""
    return shutil.which("redis-server") is not None


@contextmanager
def running(folder: Path, prefix: Sequence[str] = ()) -> Iterator[Redis]:
    """Run a Redis until the block ends."""
    server = Redis(folder, prefix)
    server.start()
    try:
        yield server
    finally:
        server.kill()
