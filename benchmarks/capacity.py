"""What does a session at rest cost: in memory, and in the time of those that step?

    python benchmarks/capacity.py                  # 7 rounds; about 2 minutes
    python benchmarks/capacity.py --rounds 3 --no-http

The claims: a session takes its state and 1 KB more at most, and a step among 100,000 sessions takes
at most 10 % longer than among 1,000, alone and in a batch of 64 random sessions. Two engines of one
capacity stand in processes of their own, both on core 0, and are timed in turn (`at_rest.py`).
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
FEW, MANY = 1_000, 100_000
BESIDE_STATE_BYTES, SLOWER = 1024, 1.10
SINGLE, BATCH, HTTP = (
    "1 session, in process, µs",
    "64 sessions, in process, µs",
    "over HTTP, steps/s",
)
Series = dict[int, list[float]]  # by sessions at rest, round by round


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
def resting(sessions: int) -> Iterator[Resting]:
    """Hold so many sessions until the block ends."""
    script = str(load.HERE / "at_rest.py")
    command = ["timeout", "600", "taskset", "-c", str(load.SERVER_CORE), sys.executable, script]
    command += [WORLD, "--sessions", str(sessions), "--capacity", str(MANY)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Resting(process)
    finally:
        process.communicate(timeout=30)  # its input ends, and so does it


def in_process(rounds: int, watch: Watch) -> tuple[Series, Series, dict[int, dict[str, int]]]:
    """Return single steps' and batches' times in rounds, and what the processes hold."""
    single: Series = {FEW: [], MANY: []}
    batch: Series = {FEW: [], MANY: []}
    with ExitStack() as stack:
        engines = {count: stack.enter_context(resting(count)) for count in (FEW, MANY)}
        for number in range(rounds):
            for count in _in_turn(number):
                took = watch.measure(engines[count].times_us, engines[count].pid)
                single[count].append(took["single_us"])
                batch[count].append(took["batch_us"])
            print(f"round {number + 1}: {single[MANY][-1]:.0f} µs alone", file=sys.stderr)
        return single, batch, {count: engine.filled for count, engine in engines.items()}


def over_http(bundle: Path, rounds: int, seconds: float, watch: Watch) -> Series:
    """Return steps a second in rounds."""
    rates: Series = {FEW: [], MANY: []}
    with ExitStack() as stack:
        servers = {}
        for count in rates:
            port = load.free_port()
            command = load.dreamserve(bundle, port, "--capacity", str(MANY))
            servers[count] = port, stack.enter_context(load.serving(command, port))
            packed.begin(port, [f"s{i}" for i in range(count)])
        for number in range(-1, rounds):  # the first is thrown away
            for count in _in_turn(number):
                port, pid = servers[count]
                seen = watch.measure(
                    lambda port=port, count=count: _rotate(port, count, seconds), pid
                )
                if number >= 0:
                    rates[count].append(seen.requests_per_s)
    return rates


def _in_turn(number: int) -> tuple[int, int]:
    """Let each go first every other round."""
    return (FEW, MANY) if number % 2 == 0 else (MANY, FEW)


def _rotate(port: int, sessions: int, seconds: float) -> load.Load:
    # LitServe's script numbers no steps, so the sessions need not begin anew for each round.
    seen = load.load(
        port, "/step", "litserve.lua", connections=64, seconds=seconds, arguments=(sessions,)
    )
    load.must_be_clean("dreamserve", seen)
    return seen


def _slower(series: Series, rate: bool) -> float:
    """Return how many times slower it is among many."""
    pairs = list(zip(series[FEW], series[MANY], strict=True))
    return statistics.median(few / many if rate else many / few for few, many in pairs)


def _print_memory(filled: dict[int, dict[str, int]]) -> None:
    held = {count: found["resident_bytes"] for count, found in filled.items()}
    state = filled[MANY]["state_bytes"]
    each = (held[MANY] - held[FEW]) / (MANY - FEW)
    columns = [f"resident with {FEW:,}", f"with {MANY:,}", "a session", "its state", "beside it"]
    row = [f"{held[count] / 2**20:,.0f} MiB" for count in (FEW, MANY)]
    row += [f"{each:,.0f} bytes", f"{state:,} bytes", f"{each - state:,.0f} bytes"]
    print_table(columns, [row])
    claim = f"\nthe state and {BESIDE_STATE_BYTES:,} bytes at most ({each - state:,.0f})"
    print(verdict(claim, each <= state + BESIDE_STATE_BYTES) + "\n")


def _print_times(found: Sequence[tuple[str, Series]]) -> None:
    columns = ["steps of", f"among {FEW:,}", f"among {MANY:,}", "times slower"]
    slower = {name: _slower(series, name == HTTP) for name, series in found}
    rows = [
        [name, spread(series[FEW], ",.1f"), spread(series[MANY], ",.1f"), f"{slower[name]:.3f}"]
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
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round over HTTP")
    parser.add_argument("--no-http", action="store_true")
    arguments = parser.parse_args()
    watch, bundle = Watch(), bundle_of(WORLD)
    with pinned(load.LOAD_CORE):
        single, batch, filled = in_process(arguments.rounds, watch)
        found = [(SINGLE, single), (BATCH, batch)]
        if not arguments.no_http:
            found.append((HTTP, over_http(bundle, arguments.rounds, arguments.seconds, watch)))
    print(f"{WORLD}, {MANY:,} sessions at most\n")
    _print_memory(filled)
    _print_times(found)
    print_circumstances(["onnxruntime", "numpy"], watch=watch)


if __name__ == "__main__":
    main()
