"""What is left of a server's work when it is offered ten times of what it can do?

    python benchmarks/overload.py                    # takes about three minutes
    python benchmarks/overload.py --only plan

The claims: of /plan and /step, at ten times the load at least 0.9 of the work is still done; 99 %
of the refusals of an even load arrive within 50 ms. Plans are offered in three ways: by two clients
that wait for each other's plans (which is what the server can do), at ten times that rate by
clients that come once, and by 640 connections that ignore Retry-After. Steps are offered by 64 and
by 640 connections. The server is on core 0, the clients share core 1.

Every round measures all loads, one after another, and compares them with its own first one; shares
are the medians of the rounds. Where other work takes time from the server's core, the share per
second of processor time says what the refusals cost.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import load
from bare import pinned
from contention import Watch
from tables import print_circumstances, print_table, spread, verdict
from worlds import SIZES, bundle_of

LEAST_SHARE, MOST_MS = 0.9, 50.0
TIMES = 10
PLAN = {"horizon": 20, "candidates": 128, "iterations": 1, "warm_start": False}
PATIENCE_S = 60.0  # for the responses after the last request


@dataclass
class Seen:
    """What the clients saw of one load."""

    seconds: float
    offered: int = 0
    finished: int = 0  # within the time
    late: int = 0  # after it
    cpu_s: float = 0.0  # of the server, for all of them
    refused_ms: list[float] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Return the requests that were finished per second."""
        return self.finished / self.seconds

    @property
    def per_cpu_s(self) -> float:
        """Return the requests that were finished per second of the server's processor time."""
        return (self.finished + self.late) / max(self.cpu_s, 1e-9)


def request(session: int) -> bytes:
    """Return a plan's request as bytes."""
    body = json.dumps({"session_id": f"s{session}", **PLAN}).encode()
    head = "POST /plan HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One connection, one request at a time."""

    def __init__(self, port: int, session: int) -> None:
        self._port, self.request = port, request(session)
        self._reader: asyncio.StreamReader | None = None

    async def send(self, seen: Seen, until_s: float) -> None:
        """Send the request and wait for its response; count it if it came by `until_s`."""
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        began_s = time.perf_counter()
        seen.offered += 1
        self._writer.write(self.request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        body, now_s = await self._reader.readexactly(length), time.perf_counter()
        if head.startswith(b"http/1.1 429"):
            seen.refused_ms.append(1e3 * (now_s - began_s))
        elif not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"/plan failed: {body[:500]!r}")
        elif now_s <= until_s:
            seen.finished += 1
        else:
            seen.late += 1

    def close(self) -> None:
        """Close the connection."""
        if self._reader is not None:
            self._writer.close()


async def without_pause(port: int, connections: int, seconds: float) -> Seen:
    """Let connections ask again as soon as they are answered, whatever the answer."""
    seen, until_s = Seen(seconds), time.perf_counter() + seconds
    clients = [Connection(port, number) for number in range(connections)]

    async def ask(client: Connection) -> None:
        while time.perf_counter() < until_s:
            await client.send(seen, until_s)

    async with asyncio.timeout(seconds + PATIENCE_S):
        await asyncio.gather(*map(ask, clients))
    for client in clients:
        client.close()
    return seen


async def at_rate(port: int, per_s: float, seconds: float) -> Seen:
    """Send requests at an even rate, whatever the server answers; each client comes once."""
    seen, began_s = Seen(seconds), time.perf_counter()
    until_s = began_s + seconds
    idle, count = list[Connection](), 0

    async def ask(client: Connection, session: int) -> None:
        client.request = request(session)  # connections are used again, as a proxy does
        await client.send(seen, until_s)
        idle.append(client)

    async with asyncio.timeout(seconds + PATIENCE_S), asyncio.TaskGroup() as group:
        while (due_s := began_s + count / per_s) < until_s:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            session = count % load.SESSIONS
            client = idle.pop() if idle else Connection(port, session)
            group.create_task(ask(client, session))
            count += 1
    for client in idle:
        client.close()
    return seen


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watched(pid: int, load_: Coroutine[Any, Any, Seen]) -> Seen:
    """Run a load, and note the server's processor time."""
    before_s = cpu_s(pid)
    seen = asyncio.run(load_)
    seen.cpu_s = cpu_s(pid) - before_s
    return seen


def resident_mb(pid: int) -> float:
    """Return the memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@dataclass(frozen=True)
class Options:
    """How to measure, and the server."""

    port: int
    pid: int
    seconds: float
    connections: int
    rounds: int
    watch: Watch


Table = tuple[list[list[str]], list[tuple[str, bool]]]  # rows, and claims with whether they hold


def plans(options: Options) -> Table:
    """Measure plans; return the rows of the table and their claims."""
    port, pid, seconds = options.port, options.pid, options.seconds
    load.open_sessions(port)
    asyncio.run(without_pause(port, 2, min(1.0, seconds)))  # the server learns its pace

    def measure(load_: Callable[[], Coroutine[Any, Any, Seen]]) -> Seen:
        return options.watch.measure(lambda: watched(pid, load_()), pid)

    rounds: list[list[Seen]] = []
    for _ in range(options.rounds):
        able = measure(partial(without_pause, port, 2, seconds))
        rate = TIMES * max(able.per_s, 0.1)
        even = measure(partial(at_rate, port, rate, seconds))
        rude = measure(partial(without_pause, port, options.connections, seconds))
        rounds.append([able, even, rude])
    able, even, rude = (list(seen) for seen in zip(*rounds, strict=True))
    rows = [
        _row("/plan, 2 clients", able, able, pid),
        _row(f"/plan, {TIMES} times the rate", even, able, pid),
        _row(f"/plan, {options.connections} rude", rude, able, pid),
    ]
    share = min(statistics.median(_shares(seen, able)) for seen in (even, rude))
    p99_ms = _refused_p99_ms(even)
    claims = [
        (f"at least {LEAST_SHARE} of the plans ({share:.2f})", share >= LEAST_SHARE),
        (
            f"p99 of an even load's refusals within {MOST_MS:g} ms ({p99_ms:.1f})",
            p99_ms <= MOST_MS,
        ),
    ]
    return rows, claims


def _shares(seen: Sequence[Seen], able: Sequence[Seen]) -> list[float]:
    return [one.per_s / max(of.per_s, 1e-9) for one, of in zip(seen, able, strict=True)]


def _refused_p99_ms(seen: Sequence[Seen]) -> float:
    """Return the 99th percentile of the time to a refusal; 0 without one."""
    refused_ms = [ms for one in seen for ms in one.refused_ms]
    return float(np.percentile(refused_ms, 99)) if refused_ms else 0.0


def _row(name: str, seen: Sequence[Seen], able: Sequence[Seen], pid: int) -> list[str]:
    per_cpu_s = [
        one.per_cpu_s / max(of.per_cpu_s, 1e-9) for one, of in zip(seen, able, strict=True)
    ]
    refused_per_s = statistics.median(len(one.refused_ms) / one.seconds for one in seen)
    return [
        name,
        f"{statistics.median(one.offered / one.seconds for one in seen):,.1f}",
        f"{statistics.median(one.per_s for one in seen):,.1f}",
        spread(_shares(seen, able), ".2f"),
        f"{statistics.median(per_cpu_s):.2f}",
        f"{refused_per_s:,.1f}",
        f"{_refused_p99_ms(seen):.1f}" if refused_per_s else "",
        f"{resident_mb(pid):.0f}",
    ]


def steps(options: Options) -> Table:
    """Measure steps; return the rows of the table and their claims."""
    port, pid = options.port, options.pid
    few, many = options.connections // TIMES, options.connections
    rates: dict[int, list[float]] = {few: [], many: []}
    for _ in range(options.rounds):
        for count in rates:
            seen = load.measured_steps(
                "dreamserve", port, count, options.seconds, options.watch, pid
            )
            rates[count].append(seen.requests_per_s)
    rows = []
    for count, seen in rates.items():
        rate = f"{statistics.median(seen):,.1f}"
        shares = [one / of for one, of in zip(seen, rates[few], strict=True)]
        memory = f"{resident_mb(pid):.0f}"
        name = f"/step, {count} connections"
        rows.append([name, rate, rate, spread(shares, ".2f"), "", "0", "", memory])
    share = statistics.median(shares)
    return rows, [(f"at least {LEAST_SHARE} of the steps ({share:.2f})", share >= LEAST_SHARE)]


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", choices=list(SIZES), default=next(iter(SIZES)))
    parser.add_argument("--only", choices=["plan", "step"])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    port, watch = load.free_port(), Watch(cores=[load.SERVER_CORE])
    rows, claims = [], []
    command = load.dreamserve(bundle_of(args.world), port)
    with load.serving(command, port) as pid, pinned(load.LOAD_CORE):
        before_mb = resident_mb(pid)
        options = Options(port, pid, args.seconds, args.connections, args.rounds, watch)
        for name, measure in (("plan", plans), ("step", steps)):
            if args.only in (None, name):
                more, held = measure(options)
                rows, claims = rows + more, claims + held
    print(f"{args.world}; the server holds {before_mb:.0f} MB before the first request\n")
    columns = [
        "load",
        "offered/s",
        "finished/s",
        "share",
        "share per CPU s",
        "refused/s",
        "refusals' p99 ms",
        "MB",
    ]
    print_table(columns, rows)
    print()
    for claim, holds in claims:
        print(verdict(claim, holds))
    print_circumstances(["onnxruntime"], watch=watch)


if __name__ == "__main__":
    main()
