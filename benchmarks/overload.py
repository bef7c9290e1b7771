"""What is left of a server's work when it is offered ten times of what it can do?

    python benchmarks/overload.py                    # takes about a minute
    python benchmarks/overload.py --only plan

The claims: of /plan and /step, at ten times the load at least 0.9 of the work is still done; 99 %
of the refusals of an even load arrive within 50 ms. Plans are offered in three ways: by two clients
that wait for each other's plans (which is what the server can do), at ten times that rate by
clients that come once, and by 640 connections that ignore Retry-After. Steps are offered by 64 and
by 640 connections. The server is on core 0, the clients share core 1.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import load
from bare import pinned
from contention import Watch
from tables import print_circumstances, print_table, verdict
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
    cpu_s: float = 0.0  # of the server
    refused_ms: list[float] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Return the requests that were finished per second."""
        return self.finished / self.seconds

    @property
    def refused_p99_ms(self) -> float:
        """Return the 99th percentile of the time to a refusal; 0 without one."""
        return float(np.percentile(self.refused_ms, 99)) if self.refused_ms else 0.0


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


def plans(port: int, pid: int, seconds: float, connections: int) -> tuple[list[list[str]], list]:
    """Return the rows of the table about plans, and their claims."""
    load.open_sessions(port)
    asyncio.run(without_pause(port, 2, min(1.0, seconds)))  # the server learns its pace
    able = watched(pid, without_pause(port, 2, seconds))
    rate = TIMES * max(able.per_s, 0.1)
    even = watched(pid, at_rate(port, rate, seconds))
    rude = watched(pid, without_pause(port, connections, seconds))
    names = ["/plan, 2 clients", f"/plan, {TIMES} times the rate", f"/plan, {connections} rude"]
    rows = [
        _row(name, seen, able, pid) for name, seen in zip(names, (able, even, rude), strict=True)
    ]
    shares = [seen.per_s / max(able.per_s, 1e-9) for seen in (even, rude)]
    claims = [
        (f"at least {LEAST_SHARE} of the plans ({min(shares):.2f})", min(shares) >= LEAST_SHARE),
        (
            f"p99 of an even load's refusals within {MOST_MS:g} ms ({even.refused_p99_ms:.1f})",
            even.refused_p99_ms <= MOST_MS,
        ),
    ]
    return rows, claims


def _row(name: str, seen: Seen, able: Seen, pid: int) -> list[str]:
    return [
        name,
        f"{seen.offered / seen.seconds:,.1f}",
        f"{seen.per_s:,.1f}",
        f"{seen.per_s / max(able.per_s, 1e-9):.2f}",
        f"{(seen.finished + seen.late) / max(seen.cpu_s, 1e-9):,.1f}",
        f"{len(seen.refused_ms) / seen.seconds:,.1f}",
        f"{seen.refused_p99_ms:.1f}" if seen.refused_ms else "",
        f"{resident_mb(pid):.0f}",
    ]


def steps(port: int, pid: int, seconds: float, connections: int) -> tuple[list[list[str]], list]:
    """Return the rows of the table about steps, and their claims."""
    rows, rates = [], []
    for count in (connections // TIMES, connections):
        load.open_sessions(port)
        seen = load.run_wrk(port, "/step", "step.lua", connections=count, seconds=seconds)
        load.must_succeed("dreamserve", seen)
        rates.append(seen.requests_per_s)
        share, rate = f"{rates[-1] / rates[0]:.2f}", f"{rates[-1]:,.1f}"
        memory = f"{resident_mb(pid):.0f}"
        rows.append([f"/step, {count} connections", rate, rate, share, "", "0", "", memory])
    share = rates[1] / rates[0]
    return rows, [(f"at least {LEAST_SHARE} of the steps ({share:.2f})", share >= LEAST_SHARE)]


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", choices=list(SIZES), default=next(iter(SIZES)))
    parser.add_argument("--only", choices=["plan", "step"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=640)
    args = parser.parse_args()
    port, watch = load.free_port(), Watch(cores=[load.SERVER_CORE])
    rows, claims = [], []
    command = load.dreamserve(bundle_of(args.world), port)
    with load.serving(command, port) as pid, pinned(load.LOAD_CORE):
        before_mb = resident_mb(pid)
        for name, measure in (("plan", plans), ("step", steps)):
            if args.only in (None, name):
                more, held = measure(port, pid, args.seconds, args.connections)
                rows, claims = rows + more, claims + held
    print(f"{args.world}; the server holds {before_mb:.0f} MB before the first request\n")
    columns = [
        "load",
        "offered/s",
        "finished/s",
        "share",
        "per CPU s",
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
