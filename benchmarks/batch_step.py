"""How near does /step/batch over HTTP come to onnxruntime alone?

    python benchmarks/batch_step.py                     # 5 rounds of 2 s; about 2 minutes
    python benchmarks/batch_step.py --world lstm512-z64
    python benchmarks/batch_step.py --rows 1024 --rounds 1

The claim: with 1,024 sessions per request, dreamserve reaches 0.8 of the rate of `bare.BareLoop`
with the same batch. Both use core 0: the bare loop runs while the server is idle. The requests are
in msgpack and do not number steps, so wrk, on core 1, sends one body repeatedly. A ratio is the
median of the ratios of all rounds.
"""

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import load
import packed
from bare import BareLoop, pinned
from contention import Watch
from tables import print_circumstances, print_table, spread, verdict
from worlds import SIZES, bundle_of

CLAIMED_ROWS, CLAIM = 1024, 0.8
CONNECTIONS = (1, 2)


@dataclass
class Rates:
    """Steps per second, by round."""

    bare: list[float] = field(default_factory=list)
    served: dict[int, list[float]] = field(default_factory=lambda: {n: [] for n in CONNECTIONS})
    p50_ms: dict[int, list[float]] = field(default_factory=lambda: {n: [] for n in CONNECTIONS})

    def ratio(self, connections: int) -> float:
        """Return the served rate divided by the bare loop's, the median over rounds."""
        pairs = zip(self.served[connections], self.bare, strict=True)
        return statistics.median(served / bare for served, bare in pairs)


def measure(
    bare: BareLoop, port: int, pid: int, body: Path, seconds: float, watch: Watch, rates: Rates
) -> None:
    """Measure one round and append it to `rates`."""

    def alone() -> float:
        with pinned(load.SERVER_CORE):
            return bare.rate(seconds)

    rates.bare.append(watch.measure(alone))
    for count in CONNECTIONS:

        def run(seconds: float, count: int = count) -> load.Load:
            return load.run_wrk(
                port,
                "/step/batch",
                "fixed.lua",
                connections=count,
                seconds=seconds,
                arguments=(body,),
            )

        result = watch.measure(lambda run=run: run(seconds), pid)
        load.must_succeed("dreamserve", result)
        rates.served[count].append(result.requests_per_s * bare.rows)
        rates.p50_ms[count].append(result.p50_ms)


def _compare(
    bundle: Path, sizes: list[int], rounds: int, seconds: float, watch: Watch
) -> dict[int, Rates]:
    port = load.free_port()
    rates = {rows: Rates() for rows in sizes}
    with (
        tempfile.TemporaryDirectory() as folder,
        load.serving(load.dreamserve(bundle, port), port) as pid,
    ):
        bodies = {}
        for rows in sizes:
            ids = [f"s{i}" for i in range(rows)]
            content = packed.step_body(ids)
            packed.reset_sessions(port, ids)
            packed.post(port, "/step/batch", content)  # exits if any row fails
            bodies[rows] = Path(folder) / f"{rows}.msgpack"
            bodies[rows].write_bytes(content)
        loops = {rows: BareLoop(bundle, rows) for rows in sizes}
        for number in range(rounds):
            for rows in sizes:
                measure(loops[rows], port, pid, bodies[rows], seconds, watch, rates[rows])
                ratios = [f"{rates[rows].ratio(count):.2f}" for count in CONNECTIONS]
                print(f"round {number + 1}: {rows} rows, so far {ratios}", file=sys.stderr)
    return rates


def _rows_of(rates: dict[int, Rates]) -> list[list[str]]:
    lines = []
    for rows, own in rates.items():
        for count in CONNECTIONS:
            line = [f"{rows:,}", str(count), spread(own.bare), spread(own.served[count])]
            line += [f"{own.ratio(count):.2f}", f"{statistics.median(own.p50_ms[count]):.2f}"]
            lines.append(line)
    return lines


def main() -> None:
    """Measure in rounds and print the table."""
    parser = argparse.ArgumentParser()
    discrete = [name for name, (_, _, box) in SIZES.items() if not box]
    parser.add_argument("--world", choices=discrete, default=discrete[0])
    parser.add_argument("--rows", default="64,256,1024", help="comma-separated sizes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.rows.split(",")]
    watch = Watch()
    with pinned(load.LOAD_CORE):
        rates = _compare(
            bundle_of(arguments.world), sizes, arguments.rounds, arguments.seconds, watch
        )
    print(f"{arguments.world}\n")
    columns = ["rows", "connections", "bare steps/s", "served steps/s", "served / bare", "p50 ms"]
    print_table(columns, _rows_of(rates))
    if claimed := rates.get(CLAIMED_ROWS):
        best = max(claimed.ratio(count) for count in CONNECTIONS)
        claim = f"\n{CLAIMED_ROWS:,} rows: at least {CLAIM} of the bare loop's rate ({best:.2f})"
        print(verdict(claim, best >= CLAIM))
    print_circumstances(["onnxruntime"], watch=watch)


if __name__ == "__main__":
    main()
