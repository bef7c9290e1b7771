"""What is left of a server's work when it is offered ten times of what it can do?

    python benchmarks/overload.py                    # takes about three minutes
    python benchmarks/overload.py --only plan

The claims: of /plan and /step, at ten times the load at least 0.9 of the work is still done; 99 %
of the refusals of an even load arrive within 50 ms. Plans are offered in three ways: by two clients
that wait for each other's plans (which is what the server can do), at ten times that rate by
clients that come once, and by 640 connections that ignore Retry-After. Steps are offered by 64 and
by 640 connections. The server is on core 0, the clients share core 1.

Every round measures all loads, one after another, each from its second second on, and compares them
with its own first one; shares are the medians of the rounds. Where other work takes time from the
server's core, the share per second of processor time says what the refusals cost.
"""

import argparse
import asyncio
import os
import statistics
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import load
from bare import pinned
from contention import Watch
from planning_clients import Seen, at_rate, without_pause
from tables import print_circumstances, print_table, spread, verdict
from worlds import SIZES, bundle_of

LEAST_SHARE, MOST_MS = 0.9, 50.0
TIMES = 10


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
                "dreamserve", port, count, options.seconds, options.watch, pid, first="none"
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
