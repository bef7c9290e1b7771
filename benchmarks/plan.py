"""How long does a plan over HTTP take, beside onnxruntime alone and beside other planners?

    python benchmarks/plan.py                          # two worlds, 5 rounds; about 6 minutes
    python benchmarks/plan.py --worlds lstm256-z32-box --rounds 3
    python benchmarks/plan.py --iterations 4 --no-peers

CEM with 1,000 candidates of 20 steps and one iteration. The claims: at most 1.25 times the time of
the bare loop, which takes 20 steps of 1,000 rows (`bare.BareLoop`) and neither proposes actions nor
evaluates them; and at least 1.5 times as fast as the planners of mbrl-lib and torchrl on the same
weights, with as many candidates and iterations (`peers/planners.py`). All use core 0, one after the
other; the client, which keeps its connection, has core 1. A round's time is the median of its
plans; a ratio is the median of the ratios of all rounds.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import load
from bare import BareLoop, pinned
from contention import Watch
from tables import print_circumstances, print_table, spread, verdict
from worlds import SIZES, bundle_of

HORIZON, CANDIDATES = 20, 1000
BARE, OURS, IN_SERVER = "bare loop", "dreamserve", "dreamserve, elapsed_ms"
PEERS = ("mbrl", "torchrl")
MAX_OF_BARE, MIN_OF_PEERS = 1.25, 1.5
Times = dict[str, list[float]]  # ms, by round


def _timed(run: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began_s)


class Planner:
    """Requests plans from a server over one connection."""

    def __init__(self, port: int, iterations: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        body = {"session_id": "s0", "planner": "cem", "horizon": HORIZON}
        body |= {"candidates": CANDIDATES, "iterations": iterations}
        self._content = json.dumps(body).encode()

    def plan(self) -> float:
        """Request one plan; return its elapsed_ms."""
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/plan", self._content, headers)
        response = self._connection.getresponse()
        fields = json.loads(response.read())
        if response.status != 200:
            sys.exit(f"POST /plan returned {response.status}: {fields}")
        return float(fields["elapsed_ms"])

    def times_ms(self, repeats: int) -> tuple[float, float]:
        """Return the median times as measured by the client and by the server."""
        inside: list[float] = []
        outside = [_timed(lambda: inside.append(self.plan())) for _ in range(repeats)]
        return statistics.median(outside), statistics.median(inside)


def _bare_ms(loop: BareLoop, iterations: int, repeats: int) -> float:
    with pinned(load.SERVER_CORE):
        times = [_timed(lambda: loop.run(HORIZON * iterations)) for _ in range(repeats)]
    return statistics.median(times)


def _peers_ms(bundle: Path, iterations: int, repeats: int) -> dict[str, float]:
    """Return the peers' median times, measured in a new process."""
    script = load.HERE / "peers" / "planners.py"
    command = ["taskset", "-c", str(load.SERVER_CORE), load.peers_python(), str(script)]
    command += [str(bundle), "--horizon", str(HORIZON), "--candidates", str(CANDIDATES)]
    command += ["--iterations", str(iterations), "--repeats", str(repeats)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{ran.stderr[-4000:]}")
    results = json.loads(ran.stdout.splitlines()[-1])
    return {name: statistics.median(results[name]["times_ms"]) for name in PEERS}


def measure(bundle: Path, args: argparse.Namespace, watch: Watch) -> Times:
    """Return the times of each planner by round."""
    port, iterations, repeats = load.free_port(), args.iterations, args.repeats
    times: Times = {name: [] for name in (BARE, OURS, IN_SERVER, *args.peers)}
    loop = BareLoop(bundle, CANDIDATES)
    with load.serving(load.dreamserve(bundle, port), port) as pid:
        load.open_sessions(port, 1)
        planner = Planner(port, iterations)
        planner.times_ms(2)
        _bare_ms(loop, 1, 2)
        for number in range(args.rounds):
            times[BARE].append(watch.measure(lambda: _bare_ms(loop, iterations, repeats)))
            outside, inside = watch.measure(lambda: planner.times_ms(repeats), pid)
            times[OURS].append(outside)
            times[IN_SERVER].append(inside)
            if args.peers:
                peers = watch.measure(lambda: _peers_ms(bundle, iterations, repeats))
                for name, took in peers.items():
                    times[name].append(took)
            progress = ", ".join(f"{name} {took[-1]:.0f} ms" for name, took in times.items())
            print(f"round {number + 1}: {progress}", file=sys.stderr)
    return times


def _ratio(times: Times, over: str, under: str) -> float:
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def _print_world(world: str, times: Times) -> None:
    columns = ["planner", "plan ms", "times the bare loop", f"times {OURS}"]
    rows = []
    for name, took in times.items():
        ratios = [f"{_ratio(times, name, other):.2f}" for other in (BARE, OURS)]
        rows.append([name, spread(took, ".1f"), *ratios])
    print(f"{world}, {CANDIDATES:,} candidates of {HORIZON} steps\n")
    print_table(columns, rows)
    over = _ratio(times, OURS, BARE)
    print(verdict(f"\nat most {MAX_OF_BARE} times the bare loop ({over:.2f})", over <= MAX_OF_BARE))
    for name in (peer for peer in PEERS if peer in times):
        faster = _ratio(times, name, OURS)
        claim = f"at least {MIN_OF_PEERS} times as fast as {name} ({faster:.2f})"
        print(verdict(claim, faster >= MIN_OF_PEERS))
    print()


def main() -> None:
    """Measure in rounds and print a table for each world."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worlds", default="lstm256-z32-box,lstm256-z32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7, help="plans in a round")
    parser.add_argument("--no-peers", dest="peers", action="store_const", const=(), default=PEERS)
    arguments = parser.parse_args()
    worlds = arguments.worlds.split(",")
    if unknown := set(worlds) - set(SIZES):
        parser.error(f"no world {', '.join(sorted(unknown))}; choose from {list(SIZES)}")
    watch = Watch()
    with pinned(load.LOAD_CORE):
        for world in worlds:
            _print_world(world, measure(bundle_of(world), arguments, watch))
    print_circumstances(["onnxruntime"], ["mbrl", "torchrl", "torch"], watch)


if __name__ == "__main__":
    main()
