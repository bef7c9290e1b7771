"""Does a server stay as it is? Hours of load, in which sessions come, go and are abandoned.

    python benchmarks/soak.py                                  # an hour, sessions in memory
    python benchmarks/soak.py --seconds 1200 --store redis     # with a Redis of its own

Visitors step, plan, fork and delete dreams, leave some to expire, open and close streams, and hang
up in the middle of a request. The load is 70 % of what the same visitors reach without a pause,
measured first. Exits with 1 if the server's memory has grown by 2 % since the first five minutes,
if a session or a slot is left at the end, or if a request failed or the server logged a warning.
The server, its Redis and the load share one core.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import load
import redis_process
from contention import LOAD_CORE
from survival import wait_until_ready
from tables import print_circumstances, print_table
from visitors import Crowd

SHARE = 0.7  # of the capacity
SETTLED_S, MAX_GROWTH = 300.0, 0.02  # memory is compared with that after this time
LEVELS = (" WARNING ", " ERROR ", " CRITICAL ")


@dataclass(frozen=True)
class Sample:
    """The state of the server at one time."""

    at_s: float
    resident_bytes: int
    files: int
    threads: int
    sessions: int
    requests: int  # so far
    failed: int  # so far


@dataclass
class Watched:
    """A server's process and its log."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    starting: int  # bytes of the log until it was ready, which may complain of our asking
    samples: list[Sample] = field(default_factory=list)

    async def sample(self, at_s: float, crowd: Crowd) -> None:
        """Add a sample."""
        proc = Path(f"/proc/{self.process.pid}")
        pages = int((proc / "statm").read_text().split()[1])
        self.samples.append(
            Sample(
                at_s,
                pages * os.sysconf("SC_PAGE_SIZE"),
                len(list((proc / "fd").iterdir())),
                len(list((proc / "task").iterdir())),
                await crowd.sessions(),
                crowd.requests,
                len(crowd.failures),
            )
        )

    def warnings(self) -> list[str]:
        """Return the lines of the log that are warnings, or worse."""
        logged = self.log.read_bytes()[self.starting :]
        lines = logged.decode(errors="replace").splitlines()
        return [line for line in lines if any(level in line for level in LEVELS)]


@contextmanager
def store_of(name: str, folder: Path, pin: list[str]) -> Iterator[str]:
    """Yield the setting of a store; run the Redis that it needs."""
    if name == "redis":
        (folder / "redis").mkdir()
        with redis_process.running(folder / "redis", pin) as redis:
            yield redis.url
    else:
        yield f"sqlite:{folder}/sessions.db" if name == "sqlite" else name


@asynccontextmanager
async def served(arguments: argparse.Namespace) -> AsyncIterator[Watched]:
    """Run a server with its store until the block ends."""
    pin = ["taskset", "-c", str(arguments.core)]
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), load.free_port()
        path = folder / "log"
        with store_of(arguments.store, folder, pin) as store, path.open("wb") as log:
            options = ("--store", store, "--capacity", str(arguments.capacity), "--threads", "1")
            bundle = Path(__file__).parents[1] / "bundles" / "takecover"
            command = load.dreamserve(
                bundle, port, *options, "--session-ttl-s", f"{arguments.ttl_s}"
            )
            process = subprocess.Popen([*pin, *command], stdout=log, stderr=subprocess.STDOUT)
            try:
                await asyncio.to_thread(wait_until_ready, port)
                yield Watched(process, port, path, starting=path.stat().st_size)
            finally:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()


async def soak(watched: Watched, arguments: argparse.Namespace) -> list[str]:
    """Load the server; return what is wrong with it afterwards."""
    async with Crowd(watched.port) as crowd:
        capacity_per_s = await crowd.measure(arguments.measure_s)
        print(f"capacity: {capacity_per_s:,.0f} requests/s of these visitors", file=sys.stderr)
        began_s = time.monotonic()
        async with crowd.visiting(SHARE * capacity_per_s):
            while (at_s := time.monotonic() - began_s) < arguments.seconds:
                await watched.sample(at_s, crowd)
                left_s = arguments.seconds - (time.monotonic() - began_s)
                print(watched.samples[-1], file=sys.stderr)
                await asyncio.sleep(max(0.0, min(arguments.sample_s, left_s)))
        await watched.sample(time.monotonic() - began_s, crowd)
        return [
            *_growth(watched.samples),
            *await _leaks(crowd, arguments.ttl_s, arguments.capacity),
            *crowd.failures[:20],
        ]


def _growth(samples: list[Sample]) -> list[str]:
    """Return whether memory grew."""
    settled = [sample for sample in samples if sample.at_s >= SETTLED_S]
    if not settled:
        return []
    grown = samples[-1].resident_bytes / settled[0].resident_bytes - 1
    print(f"memory since the first {SETTLED_S / 60:.0f} minutes: {grown:+.2%}")
    return [f"memory grew by {grown:.2%}"] if grown >= MAX_GROWTH else []


async def _leaks(crowd: Crowd, ttl_s: float, capacity: int) -> list[str]:
    """Return what is left after every session has expired, and whether each slot can be used."""
    until_s = time.monotonic() + 3 * ttl_s
    while (left := await crowd.sessions()) and time.monotonic() < until_s:
        await asyncio.sleep(0.5)
    refused = await crowd.fill(capacity - left)
    wrong = [f"{left} sessions have not expired"] if left else []
    return [*wrong, *([f"{refused} slots cannot be used"] if refused else [])]


def print_samples(samples: list[Sample]) -> None:
    """Print a row for each sample."""
    columns = ["minute", "memory, MiB", "open files", "threads", "sessions", "requests/s", "failed"]
    rows, before = [], samples[0]
    for sample in samples:
        passed_s = sample.at_s - before.at_s
        rate = (sample.requests - before.requests) / passed_s if passed_s else 0.0
        counts = [str(sample.files), str(sample.threads), str(sample.sessions), f"{rate:.0f}"]
        resident = f"{sample.resident_bytes / 2**20:.1f}"
        rows.append([f"{sample.at_s / 60:.1f}", resident, *counts, str(sample.failed)])
        before = sample
    print_table(columns, rows)


async def run(arguments: argparse.Namespace) -> list[str]:
    """Print the table; return what is wrong."""
    async with served(arguments) as watched:
        wrong = await soak(watched, arguments)
        print_samples(watched.samples)
        return [*wrong, *(f"logged: {line}" for line in watched.warnings()[:20])]


def main() -> None:
    """Soak the server, and exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--store", choices=("memory", "sqlite", "redis"), default="memory")
    parser.add_argument("--sample-s", type=float, default=60.0, help="interval of the samples")
    parser.add_argument("--measure-s", type=float, default=20.0, help="to find the capacity")
    parser.add_argument("--ttl-s", type=float, default=20.0, help="of sessions")
    parser.add_argument("--capacity", type=int, default=4000, help="sessions of the server")
    parser.add_argument("--core", type=int, default=LOAD_CORE)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    wrong = asyncio.run(run(arguments))
    print(f"\ntakecover, sessions in {arguments.store}; {'; '.join(wrong) or 'nothing is wrong'}")
    print_circumstances(["redis", "onnxruntime"], cores="one for servers and load")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
