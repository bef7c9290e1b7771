"""What does a session at rest cost: in memory, and in the time of those that step?

    python benchmarks/capacity.py                  # 7 rounds; about 2 minutes
    python benchmarks/capacity.py --rounds 3 --no-http --sessions 1000,10000

The claims: a session takes its state and 1 KB more at most, and a step among 100,000 sessions takes
at most 10 % longer than among 1,000, alone and in a batch of 64 random sessions. Two engines of one
capacity stand in processes of their own, both on one core, and are timed in turn (`at_rest.py`).
Memory is the difference of their resident sets over that of their sessions. The same over HTTP: two
servers, wrk at 64 connections over all of their sessions in rotation. A ratio is the median of the
rounds' own ratios.
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
BESIDE_STATE_BYTES, SLOWER = 1024, 1.10
SINGLE, BATCH, HTTP = (
    "1 session, in process, µs",
    "64 sessions, in process, µs",
    "over HTTP, steps/s",
)
Counts = tuple[int, int]  # of sessions at rest: few, many
Series = dict[int, list[float]]  # by sessions at rest, few and many, round by round


class Resting:
    """A process with an engine full of sessions at rest."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid
        self.filled = self._read()

    def times_us(self) -> dict[str, float]:
        """Return the medians of one round."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._process.args!r} ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def resting(sessions: int, capacity: int) -> Iterator[Resting]:
    """Hold so many sessions, out of `capacity`, until the block ends."""
    script = str(load.HERE / "at_rest.py")
    command = ["timeout", "600", "taskset", "-c", str(load.SERVER_CORE), sys.executable, script]
    command += [WORLD, "--sessions", str(sessions), "--capacity", str(capacity)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Resting(process)
    finally:
        process.communicate(timeout=30)  # its input ends, and so does it


def in_process(
    counts: Counts, rounds: int, watch: Watch
) -> tuple[Series, Series, dict[int, dict[str, int]]]:
    """Return single steps' and batches' times in rounds, and what the processes hold."""
    single: Series = {count: [] for count in counts}
    batch: Series = {count: [] for count in counts}
    with ExitStack() as stack:
        engines = {count: stack.enter_context(resting(count, counts[1])) for count in counts}
        for number in range(rounds):
            for count in _in_turn(counts, number):
                took = watch.measure(engines[count].times_us, engines[count].pid)
                single[count].append(took["single_us"])
                batch[count].append(took["batch_us"])
            print(f"round {number + 1}: {single[counts[1]][-1]:.0f} µs alone", file=sys.stderr)
        return single, batch, {count: engine.filled for count, engine in engines.items()}


def over_http(bundle: Path, counts: Counts, rounds: int, seconds: float, watch: Watch) -> Series:
    """Return steps a second in rounds."""
    rates: Series = {count: [] for count in counts}
    with ExitStack() as stack:
        servers = {}
        for count in rates:
            port = load.free_port()
            command = load.dreamserve(bundle, port, "--capacity", str(counts[1]))
            servers[count] = port, stack.enter_context(load.serving(command, port))
            packed.begin(port, [f"s{i}" for i in range(count)])
        for number in range(-1, rounds):  # the first is thrown away
            for count in _in_turn(counts, number):
                port, pid = servers[count]
                seen = watch.measure(
                    lambda port=port, count=count: _rotate(port, count, seconds), pid
                )
                if number >= 0:
                    rates[count].append(seen.requests_per_s)
    return rates


def _in_turn(counts: Counts, number: int) -> Counts:
    """Let each go first every other round."""
    return counts if number % 2 == 0 else (counts[1], counts[0])


def _rotate(port: int, sessions: int, seconds: float) -> load.Load:
    # LitServe's script numbers no steps, so the sessions need not begin anew for each round.
    seen = load.load(
        port, "/step", "litserve.lua", connections=64, seconds=seconds, arguments=(sessions,)
    )
    load.must_be_clean("dreamserve", seen)
    return seen


def _slower(series: Series, rate: bool) -> float:
    """Return how many times slower it is among many."""
    pairs = list(zip(*series.values(), strict=True))
    return statistics.median(few / many if rate else many / few for few, many in pairs)


def _print_memory(filled: dict[int, dict[str, int]]) -> None:
    held = {count: found["resident_bytes"] for count, found in filled.items()}
    few, many = filled
    state = filled[many]["state_bytes"]
    each = (held[many] - held[few]) / (many - few)
    columns = [f"resident with {few:,}", f"with {many:,}", "a session", "its state", "beside it"]
    row = [f"{held[count] / 2**20:,.0f} MiB" for count in filled]
    row += [f"{each:,.0f} bytes", f"{state:,} bytes", f"{each - state:,.0f} bytes"]
    print_table(columns, [row])
    claim = f"\nthe state and {BESIDE_STATE_BYTES:,} bytes at most ({each - state:,.0f})"
    print(verdict(claim, each <= state + BESIDE_STATE_BYTES) + "\n")


def _print_times(found: Sequence[tuple[str, Series]]) -> None:
    few, many = found[0][1]
    columns = ["steps of", f"among {few:,}", f"among {many:,}", "times slower"]
    slower = {name: _slower(series, name == HTTP) for name, series in found}
    rows = [
        [name, *(spread(rounds, ",.1f") for rounds in series.values()), f"{slower[name]:.3f}"]
        for name, series in found
    ]
    print_table(columns, rows)
    print()
    for name, times in slower.items():
        print(verdict(f"{name}: at most {SLOWER} times slower ({times:.3f})", times <= SLOWER))


def main() -> None:
    """Measure in rounds and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sessions", default="1000,100000", help="few, and many")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round over HTTP")
    parser.add_argument("--no-http", action="store_true")
    arguments = parser.parse_args()
    few, many = map(int, arguments.sessions.split(","))
    counts, watch, bundle = (few, many), Watch(), bundle_of(WORLD)
    with pinned(load.LOAD_CORE):
        single, batch, filled = in_process(counts, arguments.rounds, watch)
        found = [(SINGLE, single), (BATCH, batch)]
        if not arguments.no_http:
            rounds, seconds = arguments.rounds, arguments.seconds
            found.append((HTTP, over_http(bundle, counts, rounds, seconds, watch)))
    print(f"{WORLD}, {many:,} sessions at most\n")
    _print_memory(filled)
    _print_times(found)
    print_circumstances(["onnxruntime", "numpy"], watch=watch)


if __name__ == "__main__":
    main()
