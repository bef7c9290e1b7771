"""Does a session survive its server? Replicas are killed, stopped and replaced under load.

    python benchmarks/survival.py                  # 20 kills, 3 stops, 3 replacements, 5 restarts
    python benchmarks/survival.py kill --rounds 20

Sessions are stepped by the SDK over HTTP, through the nginx of deploy/nginx, on two servers with
one Redis (or on one server with SQLite). Every step's latent is compared, bit for bit, with that of
the same dream in an engine of this process, which nothing disturbs: a step that was lost, or taken
twice, makes all later latents differ. The longest wait of any session for a step is printed, too.

Every session takes `--rate` steps a second. Without a pause between its steps (`--rate 0`) the
longest wait says mostly how long the queue of a saturated machine is.
"""

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

import load
import nginx_process
import redis_process
from dreamserve.local import LocalClient
from dreamserve_client import AsyncDreamClient
from tables import print_circumstances, print_table

T = TypeVar("T")
# A server that is stopped accepts connections for ever; only the wait for its answer tells.
STEP_WAIT_S = 1
# Longer than nginx leaves a server alone that has failed (deploy/nginx/machine.conf).
READY_S = 2.5


@dataclass
class Server:
    """One dreamserve process on its port, which can be started again there."""

    bundle: Path
    store: str
    port: int = field(default_factory=load.free_port)
    process: "subprocess.Popen[bytes] | None" = None

    async def start(self) -> None:
        """Start the process, and wait until it is ready."""
        command = load.dreamserve(self.bundle, self.port, "--store", self.store, "--threads", "1")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        await asyncio.to_thread(wait_until_ready, self.port)

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self, number: int) -> int:
        """Send a signal, and wait for the end of the process; return its status."""
        assert self.process is not None
        self.signal(number)
        return await asyncio.to_thread(self.process.wait, 60.0)


def wait_until_ready(port: int) -> None:
    """Wait until GET /readyz responds with 200; exit after a minute."""
    until_s = time.monotonic() + 60.0
    while time.monotonic() < until_s:
        with suppress(OSError):
            if load.call(port, "GET", "/readyz")[0] == 200:
                return
        time.sleep(0.05)
    sys.exit("a server is not ready")


@dataclass
class Report:
    """What the sessions met."""

    steps: int = 0
    failed: int = 0
    differing: int = 0
    longest_s: float = 0.0

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.steps + other.steps,
            self.failed + other.failed,
            self.differing + other.differing,
            max(self.longest_s, other.longest_s),
        )


class Dream:
    """One session, stepped until it is told to stop, and the latents that it saw.

    When its dream ends it is reset, and begins another one.
    """

    def __init__(self, number: int, rate: float) -> None:
        self.number = number
        self.pause_s = 1 / rate if rate else 0.0
        self.dreams: list[list[np.ndarray]] = []  # latents by dream and step
        self.report = Report()

    @property
    def begins(self) -> dict[str, int | float | str]:
        """The arguments of its next reset."""
        seed = 1000 * self.number + len(self.dreams)
        return {"session_id": f"survivor-{self.number}", "seed": seed, "temperature": 0.0}

    def action(self, step: int) -> int:
        """Return the action of a step."""
        return (step * (self.number % 7 + 1)) // 5 % 3

    async def live(self, client: AsyncDreamClient, stop: asyncio.Event) -> None:
        """Step until `stop`; every failure that the SDK raises is counted, and ends the session."""
        try:
            while not stop.is_set():
                await self._timed(client.reset(**self.begins))
                self.dreams.append([])
                await self._dream(client, stop)
        except Exception as error:
            step = len(self.dreams[-1]) + 1 if self.dreams else 0
            print(f"session {self.number}, step {step}: {error}", file=sys.stderr)
            self.report.failed += 1

    async def _dream(self, client: AsyncDreamClient, stop: asyncio.Event) -> None:
        session_id, latents, is_over = self.begins["session_id"], self.dreams[-1], False
        while not (is_over or stop.is_set()):
            begun_s = time.monotonic()
            step = len(latents) + 1
            result = await self._timed(client.step(session_id, self.action(step), step=step))
            latents.append(result.latent)
            is_over = result.terminated
            await asyncio.sleep(max(0.0, begun_s + self.pause_s - time.monotonic()))

    async def _timed(self, request: Coroutine[None, None, T]) -> T:
        before_s = time.monotonic()
        result = await request
        self.report.longest_s = max(self.report.longest_s, time.monotonic() - before_s)
        return result

    def compare(self, undisturbed: LocalClient) -> None:
        """Take the same steps in this process, and count the first that differs."""
        dreams, self.dreams = self.dreams, []
        for latents in dreams:
            session_id = undisturbed.reset(**self.begins).session_id
            self.dreams.append(latents)
            self.report.steps += len(latents)
            for step, latent in enumerate(latents, start=1):
                expected = undisturbed.step(session_id, self.action(step)).latent
                if not np.array_equal(expected, latent):
                    self.report.differing += 1
                    return


Event = Callable[[list[Server]], Coroutine[None, None, None]]


async def kill(servers: list[Server]) -> None:
    """End a server without warning, and start it again."""
    await servers[0].end(signal.SIGKILL)
    await asyncio.sleep(1.0)
    await servers[0].start()
    servers.reverse()  # the other one next time


async def replace(servers: list[Server]) -> None:
    """Replace all servers, one after the other, as a rolling update does."""
    for server in servers:
        status = await server.end(signal.SIGTERM)
        assert status == 0, f"a server ended with status {status}"
        await server.start()
        await asyncio.sleep(READY_S)


def stop_for(seconds: float) -> Event:
    """Return the event that a server is stopped for some time, and then goes on."""

    async def stop(servers: list[Server]) -> None:
        servers[0].signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        servers[0].signal(signal.SIGCONT)
        servers.reverse()

    return stop


@asynccontextmanager
async def nginx(folder: Path, servers: list[Server]) -> AsyncIterator[str]:
    """Run nginx with the configuration of deploy/ in front of the servers; yield its URL."""
    program = nginx_process.program() or sys.exit("nginx is not installed")
    port, addresses = load.free_port(), [f"127.0.0.1:{server.port}" for server in servers]
    location = "location = /step { include dreamserve/step.conf; proxy_pass http://dreamserve; }"
    command = nginx_process.command(program, folder, port, addresses, location)
    proxy = (folder / "dreamserve/proxy.conf").read_text()
    steps, changed = re.subn("proxy_read_timeout 660s", f"proxy_read_timeout {STEP_WAIT_S}s", proxy)
    assert changed == 1
    (folder / "dreamserve/step.conf").write_text(steps)
    process = subprocess.Popen(command)
    try:
        await asyncio.to_thread(wait_until_ready, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@dataclass(frozen=True)
class Stepped:
    """Sessions, how long they are stepped before and after an event, and what they should see."""

    sessions: int
    rate: float  # steps a second of each session; 0: as many as it can take
    settle_s: float
    bundle: Path
    undisturbed: LocalClient


async def survive(url: str, servers: list[Server], event: Event, stepped: Stepped) -> Report:
    """Step sessions while the event happens; return what they met."""
    dreams = [Dream(number, stepped.rate) for number in range(stepped.sessions)]
    stop = asyncio.Event()
    async with AsyncDreamClient(url, max_retries=8) as client:
        living = [asyncio.create_task(dream.live(client, stop)) for dream in dreams]
        await asyncio.sleep(stepped.settle_s)
        await event(servers)
        await asyncio.sleep(stepped.settle_s)
        stop.set()
        await asyncio.gather(*living)
    for dream in dreams:
        dream.compare(stepped.undisturbed)
    return sum((dream.report for dream in dreams), Report())


async def behind_nginx(scenarios: Sequence[tuple[Event, int]], stepped: Stepped) -> list[Report]:
    """Let events happen, each so many times, to two servers with one Redis."""
    reports = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        with redis_process.running(folder / "redis") as redis:
            servers = [Server(stepped.bundle, redis.url) for _ in range(2)]
            try:
                for server in servers:
                    await server.start()
                async with nginx(folder, servers) as url:
                    for event, rounds in scenarios:
                        met = [await survive(url, servers, event, stepped) for _ in range(rounds)]
                        reports.append(sum(met, Report()))
            finally:
                for server in servers:
                    await server.end(signal.SIGKILL)
    return reports


async def with_sqlite(rounds: int, stepped: Stepped) -> Report:
    """Kill one server, whose sessions are in a file, and start it again."""
    total = Report()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(stepped.bundle, f"sqlite:{folder}/sessions.db")
        await server.start()
        try:
            for _ in range(rounds):
                url = f"http://127.0.0.1:{server.port}"
                total += await survive(url, [server], kill, stepped)
        finally:
            await server.end(signal.SIGKILL)
    return total


def main() -> None:
    """Run the scenarios, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="*", default=[], metavar="kill|stop|replace|sqlite")
    parser.add_argument("--rounds", type=int, help="of each scenario")
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--rate", type=float, default=5.0, help="steps/s of a session; 0: no pause")
    parser.add_argument("--stopped-s", type=float, default=30.0)
    parser.add_argument("--settle-s", type=float, default=2.0, help="load before and after")
    arguments = parser.parse_args()
    bundle = Path(__file__).parents[1] / "bundles" / "takecover"
    sessions = arguments.sessions
    rate, settle_s = arguments.rate, arguments.settle_s
    stepped = Stepped(sessions, rate, settle_s, bundle, LocalClient(bundle))
    events = {
        "kill": (kill, 20),
        "stop": (stop_for(arguments.stopped_s), 3),
        "replace": (replace, 3),
    }
    chosen = arguments.scenarios or [*events, "sqlite"]
    times = {
        name: arguments.rounds or (events[name][1] if name in events else 5) for name in chosen
    }
    scenarios = {name: (events[name][0], times[name]) for name in chosen if name in events}
    reports: dict[str, Report] = {}
    if scenarios:
        met = asyncio.run(behind_nginx(list(scenarios.values()), stepped))
        reports |= zip(scenarios, met, strict=True)
    if "sqlite" in chosen:
        reports["sqlite"] = asyncio.run(with_sqlite(times["sqlite"], stepped))
    rows, is_right = [], True
    for name, report in reports.items():
        is_right = is_right and not (report.failed or report.differing)
        counts = [f"{report.steps:,}", str(report.failed), str(report.differing)]
        rows.append([name, str(times[name]), *counts, f"{report.longest_s:.2f}"])
    print(f"takecover, {sessions} sessions, {rate or 'no limit of'} steps/s each\n")
    header = ["scenario", "rounds", "steps", "failed", "sessions that differ", "longest wait, s"]
    print_table(header, rows)
    print_circumstances(["redis"], cores="shared by servers, Redis, nginx and clients")
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
