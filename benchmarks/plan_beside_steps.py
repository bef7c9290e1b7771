"""How long do steps wait while other clients plan?

    python benchmarks/plan_beside_steps.py                      # 5 rounds of 3 s; about 1 minute
    python benchmarks/plan_beside_steps.py --server-cores 0,1
    python benchmarks/plan_beside_steps.py --planners 1 --iterations 1

The claim: while four clients plan without pause, the 99th percentile of /step is at most 3 times
what it is without them. 64 connections step 1,024 sessions in rotation (wrk); the planners use CEM
with 256 candidates of 20 steps and 4 iterations. Rounds go without, with, without, ... on one
server, on core 0; wrk and the planners share core 1. The ratio is the median of the ratios of all
rounds.
"""

import argparse
import http.client
import json
import os
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import load
from bare import pinned
from contention import Watch
from tables import print_circumstances, print_table, spread, verdict
from worlds import SIZES, bundle_of

CLAIM = 3.0
HORIZON, CANDIDATES = 20, 256


@dataclass
class Rounds:
    """Loads of steps, and plans per second, by round."""

    loads: list[load.Load] = field(default_factory=list)
    plans_per_s: list[float] = field(default_factory=list)


class Planners:
    """Clients that plan without pause, each from a session of its own."""

    def __init__(self, port: int, count: int, iterations: int) -> None:
        self._port, self._count, self._iterations = port, count, iterations
        bodies = ({"session_id": f"p{i}", "seed": i} for i in range(count))
        load.send_all(port, "/reset", bodies)
        self.planned = [0] * count
        self.failed: list[str] = []

    @contextmanager
    def planning(self) -> Iterator[None]:
        """Plan until the block ends."""
        end = threading.Event()
        threads = [
            threading.Thread(target=self._plan, args=(i, end), daemon=True)
            for i in range(self._count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            end.set()
            for thread in threads:
                thread.join(30)
        if self.failed:
            sys.exit(f"POST /plan failed: {self.failed[0]}")

    def _plan(self, number: int, end: threading.Event) -> None:
        body = {"session_id": f"p{number}", "planner": "cem", "horizon": HORIZON}
        body |= {"candidates": CANDIDATES, "iterations": self._iterations}
        content = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not end.is_set():
            connection.request("POST", "/plan", content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            received = response.read()
            if response.status != 200:
                self.failed.append(f"{response.status}: {received[:500]!r}")
                return
            self.planned[number] += 1
        connection.close()


def _steps(port: int, connections: int, seconds: float) -> load.Load:
    seen = load.run_wrk(port, "/step", "step.lua", connections=connections, seconds=seconds)
    load.must_succeed("dreamserve", seen)
    return seen


def measure(bundle: Path, arguments: argparse.Namespace, watch: Watch) -> tuple[Rounds, Rounds]:
    """Return the rounds without planners and those beside them."""
    port, seconds = load.free_port(), arguments.seconds
    without, beside = Rounds(), Rounds()
    command = load.dreamserve(bundle, port)
    with load.serving(command, port, cores=arguments.server_cores) as pid:
        # If the server may use every core, wrk and the planners do not count as foreign work.
        ours = pid if len(watch.cores) == 1 else os.getpid()
        planners = Planners(port, arguments.planners, arguments.iterations)

        def run(seconds: float) -> load.Load:
            return _steps(port, arguments.connections, seconds)

        def run_beside(seconds: float) -> tuple[load.Load, float]:
            before = sum(planners.planned)
            with planners.planning():
                seen = run(seconds)
                plans = sum(planners.planned) - before
            return seen, plans / seconds

        def prepare() -> None:
            load.open_sessions(port)

        for number in range(arguments.rounds):
            without.loads.append(load.measured(prepare, run, seconds, watch, ours))
            seen, plans_per_s = load.measured(prepare, run_beside, seconds, watch, ours)
            beside.loads.append(seen)
            beside.plans_per_s.append(plans_per_s)
            p99s = f"{without.loads[-1].p99_ms:.1f} ms, {seen.p99_ms:.1f} ms"
            print(f"round {number + 1}: p99 {p99s}; {plans_per_s:.1f} plans/s", file=sys.stderr)
    return without, beside


def _row(name: str, rounds: Rounds, p99_ratio: float) -> list[str]:
    loads = rounds.loads
    return [
        name,
        spread([seen.requests_per_s for seen in loads]),
        spread([seen.p50_ms for seen in loads], ".1f"),
        spread([seen.p99_ms for seen in loads], ".1f"),
        f"{p99_ratio:.2f}",
        spread(rounds.plans_per_s, ".1f") if rounds.plans_per_s else "",
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    discrete = [name for name, (_, _, box) in SIZES.items() if not box]
    parser.add_argument("--world", choices=discrete, default=discrete[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--planners", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--server-cores", default=str(load.SERVER_CORE), help="such as 0 or 0,1")
    return parser.parse_args()


def main() -> None:
    """Measure in rounds and print the table."""
    arguments = _arguments()
    watch = Watch(cores=[int(core) for core in arguments.server_cores.split(",")])
    with pinned(load.LOAD_CORE):
        without, beside = measure(bundle_of(arguments.world), arguments, watch)
    pairs = zip(beside.loads, without.loads, strict=True)
    ratio = statistics.median(with_.p99_ms / alone.p99_ms for with_, alone in pairs)
    print(
        f"{arguments.world}, the server on core {arguments.server_cores}:"
        f" {arguments.connections} connections beside {arguments.planners} planners of"
        f" {CANDIDATES} candidates x {HORIZON} steps x {arguments.iterations} iterations\n"
    )
    columns = ["", "steps/s", "p50 ms", "p99 ms", "p99, times without", "plans/s"]
    rows = [_row("without plans", without, 1.0), _row("beside plans", beside, ratio)]
    print_table(columns, rows)
    print(verdict(f"\np99 at most {CLAIM:g} times without plans ({ratio:.2f})", ratio <= CLAIM))
    print_circumstances(["onnxruntime"], watch=watch)


if __name__ == "__main__":
    main()
