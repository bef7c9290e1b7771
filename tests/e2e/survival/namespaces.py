"""A server and its Redis on two networks, whose packets get lost; runs in a namespace of its own.

    unshare --map-root-user --net python -m tests.e2e.survival.namespaces BUNDLE FOLDER

The server's network is that of this process. Prints what it saw; exits with 0 if all was right.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

import dreamserve_client as sdk
from dreamserve.local import LocalClient

from .conftest import Server

HERE, STORE = "10.201.0.1", "10.201.0.2"  # known in these two namespaces only
BOUND_S = 5.0  # of a wait of 0.5 s, on a busy machine
RECOVERY_S = 30.0


def run(*command: str) -> None:
    """Run a command, which must succeed."""
    subprocess.run(command, check=True, timeout=30.0)


@contextmanager
def child(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends."""
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


class StoreNetwork:
    """The network of the store, joined to the server's by one cable."""

    def __init__(self, holder: int) -> None:
        self.enter = ("nsenter", "--target", str(holder), "--net")
        run("ip", "link", "set", "lo", "up")
        cable = ("type", "veth", "peer", "name", "to-server", "netns", str(holder))
        run("ip", "link", "add", "to-store", *cable)
        run("ip", "address", "add", f"{HERE}/30", "dev", "to-store")
        run("ip", "link", "set", "to-store", "up")
        self.ip("address", "add", f"{STORE}/30", "dev", "to-server")
        self.ip("link", "set", "to-server", "up")

    def ip(self, *arguments: str) -> None:
        """Change the store's side."""
        run(*self.enter, "ip", *arguments)

    def lose_replies(self) -> None:
        """Lose what the store sends: it gets requests, and nobody knows."""
        self.ip("route", "add", "blackhole", f"{HERE}/32")

    def find_replies(self) -> None:
        """Lose nothing any more."""
        self.ip("route", "del", "blackhole", f"{HERE}/32")

    def unplug(self) -> None:
        """Lose everything, without a word to either side."""
        self.ip("link", "set", "to-server", "down")

    def plug_in(self) -> None:
        """Lose nothing any more."""
        self.ip("link", "set", "to-server", "up")


def assert_unavailable(client: sdk.DreamClient, session_id: str, step: int) -> None:
    """Assert that a step gets store_unavailable, soon."""
    began_s = time.monotonic()
    try:
        client.step(session_id, step % 3, step=step)
    except sdk.StoreUnavailableError:
        assert time.monotonic() - began_s < BOUND_S
    else:
        raise AssertionError("a step was answered without a store")


def check(server: Server, cut: Callable[[], None], heal: Callable[[], None], bundle: Path) -> None:
    """Cut the network in the middle of a dream; assert that it is the same as without that."""
    local = LocalClient(bundle)
    began = local.reset(seed=1, temperature=0.0)
    expected = [local.step(began.session_id, step % 3).latent for step in range(1, 10)]
    with server.client() as client, server.client(max_retries=12) as patient:
        session_id = client.reset(seed=1, temperature=0.0).session_id
        seen = [client.step(session_id, step % 3, step=step).latent for step in (1, 2)]
        cut()
        for _ in range(2):
            assert_unavailable(client, session_id, 3)
        heal()
        began_s = time.monotonic()
        seen += [patient.step(session_id, step % 3, step=step).latent for step in range(3, 10)]
        took_s = time.monotonic() - began_s
        assert took_s < RECOVERY_S
        assert all(map(np.array_equal, seen, expected))
        print(f"{cut.__name__}: went on {took_s:.2f} s after the network did")


def main(bundle: Path, folder: Path) -> None:
    """Lose replies, then everything, in the middle of a dream."""
    with ExitStack() as stack:
        holder = stack.enter_context(child("unshare", "--net", "sleep", "infinity"))
        until_s, networks = time.monotonic() + BOUND_S, Path("/proc")
        here = (networks / "self/ns/net").readlink()
        while (networks / str(holder.pid) / "ns/net").readlink() == here:
            assert time.monotonic() < until_s
        network = StoreNetwork(holder.pid)
        options = ("--bind", STORE, "--protected-mode", "no", "--save", "", "--dir", str(folder))
        stack.enter_context(
            child(*network.enter, "redis-server", *options, "--loglevel", "warning")
        )
        server = Server(bundle, f"redis://{STORE}:6379").start()
        stack.callback(server.end)
        server.wait()
        check(server, network.lose_replies, network.find_replies, bundle)
        check(server, network.unplug, network.plug_in, bundle)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
