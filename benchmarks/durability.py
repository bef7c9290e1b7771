"""What does it cost that sessions survive? /step with each store, beside sessions in memory.

    python benchmarks/durability.py                      # 5 rounds of 4 s; about 3 minutes
    python benchmarks/durability.py --world lstm512-z64

64 connections with one step in flight each. The server has one core; the load and Redis share
another. Redis writes to its append-only file before each reply (appendfsync always).
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import load
import redis_process
from contention import LOAD_CORE, Watch
from tables import print_circumstances, print_table
from worlds import SIZES, bundle_of

TARGETS = {"redis strict": 0.5, "redis relaxed": 0.8}  # of the steps/s in memory
CONNECTIONS = 64


def measure(
    bundle: Path, stores: dict[str, list[str]], seconds: float, watch: Watch
) -> dict[str, load.Load]:
    """Start a server with each store in turn, and load it."""
    loads = {}
    for name, options in stores.items():
        port = load.free_port()
        with load.serving(load.dreamserve(bundle, port, *options), port) as pid:
            loads[name] = load.measured_steps(name, port, CONNECTIONS, seconds, watch, pid)
    return loads


def main() -> None:
    """Measure in rounds and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--world", choices=list(SIZES), default="lstm256-z32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    if not redis_process.is_installed():
        sys.exit("redis-server is not installed")
    bundle, watch = bundle_of(arguments.world), Watch()
    rounds: list[dict[str, load.Load]] = []
    with tempfile.TemporaryDirectory() as folder:
        on_load_core = ("taskset", "-c", str(LOAD_CORE))
        with redis_process.running(Path(folder), on_load_core) as redis:
            for i in range(arguments.rounds):
                stores = {
                    "memory": [],
                    "redis strict": ["--store", redis.url],
                    "redis relaxed": ["--store", redis.url, "--durability", "relaxed"],
                    "sqlite strict": ["--store", f"sqlite:{folder}/strict{i}.db"],
                    "sqlite relaxed": [
                        *("--store", f"sqlite:{folder}/relaxed{i}.db"),
                        *("--durability", "relaxed"),
                    ],
                }
                rounds.append(measure(bundle, stores, arguments.seconds, watch))
    print(f"{arguments.world}, {CONNECTIONS} connections\n")
    print_table(
        ["store", "steps/s", "of memory", "p50 ms", "p99 ms", "target"],
        [_row(name, rounds) for name in rounds[0]],
    )
    print_circumstances(["onnxruntime", "redis"], [], watch)


def _row(name: str, rounds: list[dict[str, load.Load]]) -> list[str]:
    median = load.median_of_rounds([loads[name] for loads in rounds])
    ratio = statistics.median(
        loads[name].requests_per_s / loads["memory"].requests_per_s for loads in rounds
    )
    rate, target = f"{median.requests_per_s:,.0f}", TARGETS.get(name)
    latencies = [f"{median.p50_ms:.2f}", f"{median.p99_ms:.2f}"]
    return [name, rate, f"{ratio:.2f}", *latencies, "" if target is None else f"{target}"]


if __name__ == "__main__":
    main()
