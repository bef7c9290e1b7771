"""What does an idle session cost: in memory, and in the time of other sessions' steps?

    python benchmarks/capacity.py                  # 7 rounds; about 2 minutes
    python benchmarks/capacity.py --rounds 3 --no-http --sessions 1000,10000

The claims: a session takes at most 1 KB in addition to its state, and a step among 100,000 sessions
takes at most 10 % longer than among 1,000, alone and in a batch of 64 random sessions. Two engines
with the same capacity run in separate processes on one core and are timed alternately
(`idle_engine.py`). A session's memory is the difference of their resident sets divided by that of
their session counts. Over HTTP: two servers, wrk with 64 connections and all sessions in rotation.
A ratio is the median of the ratios of all rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import load
import packed
from bare import pinned
from contention import Watch
from tables import print_circumstances, print_table, spread, verdict
from worlds import bundle_of

WORLD = "lstm256-z32"
MAX_OVERHEAD_BYTES, MAX_SLOWDOWN = 1024, 1.10
SINGLE, BATCH, HTTP = (
    "1 session, in process, µs",
    "64 sessions, in process, µs",
    "over HTTP, steps/s",
)
Counts = tuple[int, int]  # idle sessions: few, many
Series = dict[int, list[float]]  # number of idle sessions: values of all rounds


class IdleEngine:
    """A process with an engine full of idle sessions."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid
        self.filled = self._read()

    def times_us(self) -> dict[str, float]:
        """Return one round's median times of a single step and of a batch."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._process.args!r} ended with {self._process.wait()}")
        report: dict[str, Any] = json.loads(line)
        return report


@contextmanager
def idle_engine(sessions: int, capacity: int) -> Iterator[IdleEngine]:
    """Run an engine with `sessions` idle sessions of at most `capacity` until the block ends."""
    script = str(load.HERE / "idle_engine.py")
    command = ["timeout", "600", "taskset", "-c", str(load.SERVER_CORE), sys.executable, script]
    command += [WORLD, "--sessions", str(sessions), "--capacity", str(capacity)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield IdleEngine(process)
    finally:
        process.communicate(timeout=30)  # closes its input, which ends it


def in_process(
    counts: Counts, rounds: int, watch: Watch
) -> tuple[Series, Series, dict[int, dict[str, int]]]:
    """Return the times of single steps and of batches in µs by round, and the memory reports."""
    single: Series = {count: [] for count in counts}
    batch: Series = {count: [] for count in counts}
    with ExitStack() as stack:
        engines = {count: stack.enter_context(idle_engine(count, counts[1])) for count in counts}
        for number in range(rounds):
            for count in _order(counts, number):
                times = watch.measure(engines[count].times_us, engines[count].pid)
                single[count].append(times["single_us"])
                batch[count].append(times["batch_us"])
            print(f"round {number + 1}: {single[counts[1]][-1]:.0f} µs alone", file=sys.stderr)
        return single, batch, {count: engine.filled for count, engine in engines.items()}


def over_http(bundle: Path, counts: Counts, rounds: int, seconds: float, watch: Watch) -> Series:
    """Return steps per second by round."""
    rates: Series = {count: [] for count in counts}
    with ExitStack() as stack:
        servers = {}
        for count in rates:
            port = load.free_port()
            command = load.dreamserve(bundle, port, "--capacity", str(counts[1]))
            servers[count] = port, stack.enter_context(load.serving(command, port))
            packed.reset_sessions(port, [f"s{i}" for i in range(count)])
        for number in range(-1 if rounds > 1 else 0, rounds):  # round -1 warms up
            for count in _order(counts, number):
                port, pid = servers[count]
                result = watch.measure(
                    lambda port=port, count=count: _rotate(port, count, seconds), pid
                )
                if number >= 0:
                    rates[count].append(result.requests_per_s)
    return rates


def _order(counts: Counts, number: int) -> Counts:
    """Alternate which count is measured first."""
    return counts if number % 2 == 0 else (counts[1], counts[0])


def _rotate(port: int, sessions: int, seconds: float) -> load.Load:
    # LitServe's script does not number steps, so sessions need no reset before each round.
    result = load.run_wrk(
        port, "/step", "litserve.lua", connections=64, seconds=seconds, arguments=(sessions,)
    )
    load.must_succeed("dreamserve", result)
    return result


def _slowdown(series: Series, is_rate: bool) -> float:
    """Return the median ratio of time per step, many to few idle sessions."""
    pairs = list(zip(*series.values(), strict=True))
    return statistics.median(few / many if is_rate else many / few for few, many in pairs)


def _print_memory(reports: dict[int, dict[str, int]]) -> None:
    resident = {count: report["resident_bytes"] for count, report in reports.items()}
    few, many = reports
    state = reports[many]["state_bytes"]
    session = (resident[many] - resident[few]) / (many - few)
    columns = [f"resident with {few:,}", f"with {many:,}", "a session", "its state", "overhead"]
    row = [f"{resident[count] / 2**20:,.0f} MiB" for count in reports]
    row += [f"{session:,.0f} bytes", f"{state:,} bytes", f"{session - state:,.0f} bytes"]
    print_table(columns, [row])
    claim = f"\nat most {MAX_OVERHEAD_BYTES:,} bytes more than its state ({session - state:,.0f})"
    print(verdict(claim, session <= state + MAX_OVERHEAD_BYTES) + "\n")


def _print_times(measured: Sequence[tuple[str, Series]]) -> None:
    few, many = measured[0][1]
    columns = ["steps of", f"among {few:,}", f"among {many:,}", "times slower"]
    slowdowns = {name: _slowdown(series, name == HTTP) for name, series in measured}
    rows = [
        [name, *(spread(rounds, ",.1f") for rounds in series.values()), f"{slowdowns[name]:.3f}"]
        for name, series in measured
    ]
    print_table(columns, rows)
    print()
    for name, times in slowdowns.items():
        claim = f"{name}: at most {MAX_SLOWDOWN} times slower ({times:.3f})"
        print(verdict(claim, times <= MAX_SLOWDOWN))


def main() -> None:
    """Measure in rounds and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sessions", default="1000,100000", help="few, and many")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round over HTTP")
    parser.add_argument("--no-http", action="store_true")
    arguments = parser.parse_args()
    few, many = map(int, arguments.sessions.split(","))
    counts, watch, bundle = (few, many), Watch(), bundle_of(WORLD)
    with pinned(load.LOAD_CORE):
        single, batch, reports = in_process(counts, arguments.rounds, watch)
        measured = [(SINGLE, single), (BATCH, batch)]
        if not arguments.no_http:
            rounds, seconds = arguments.rounds, arguments.seconds
            measured.append((HTTP, over_http(bundle, counts, rounds, seconds, watch)))
    print(f"{WORLD}, capacity of {many:,} sessions\n")
    _print_memory(reports)
    _print_times(measured)
    print_circumstances(["onnxruntime", "numpy"], watch=watch)


if __name__ == "__main__":
    main()
