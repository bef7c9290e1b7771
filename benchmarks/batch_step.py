"""How near does /step/batch over HTTP come to onnxruntime alone?

    python benchmarks/batch_step.py                     # 5 rounds of 2 s; about 2 minutes
    python benchmarks/batch_step.py --world lstm512-z64
    python benchmarks/batch_step.py --rows 1024 --rounds 1

The claim: 1,024 sessions a request step at 0.8 or more of the rate of `bare.BareLoop` with the same
batch. Both have core 0, in turn: the bare loop runs while the server waits. The requests are in
msgpack and number no steps, so that wrk, on core 1, sends one body again and again. A ratio is the
median of the rounds' own ratios.
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
class Found:
    """Steps a second, round by round."""

    bare: list[float] = field(default_factory=list)
    served: dict[int, list[float]] = field(default_factory=lambda: {n: [] for n in CONNECTIONS})
    p50_ms: dict[int, list[float]] = field(default_factory=lambda: {n: [] for n in CONNECTIONS})

    def ratio(self, connections: int) -> float:
        """Return how much of the bare loop's rate was served."""
        pairs = zip(self.served[connections], self.bare, strict=True)
        return statistics.median(served / bare for served, bare in pairs)


def measure(
    bare: BareLoop, port: int, pid: int, body: Path, seconds: float, watch: Watch, found: Found
) -> None:
    """Add one round to what was found."""

    def alone() -> float:
        with pinned(load.SERVER_CORE):
            return bare.rate(seconds)

    found.bare.append(watch.measure(alone))
    for count in CONNECTIONS:

        def run(seconds: float, count: int = count) -> load.Load:
            return load.load(
                port,
                "/step/batch",
                "fixed.lua",
                connections=count,
                seconds=seconds,
                arguments=(body,),
            )

        seen = watch.measure(lambda run=run: run(seconds), pid)
        load.must_be_clean("dreamserve", seen)
        found.served[count].append(seen.requests_per_s * bare.rows)
        found.p50_ms[count].append(seen.p50_ms)


def _compare(
    bundle: Path, sizes: list[int], rounds: int, seconds: float, watch: Watch
) -> dict[int, Found]:
    port = load.free_port()
    found = {rows: Found() for rows in sizes}
    with (
        tempfile.TemporaryDirectory() as folder,
        load.serving(load.dreamserve(bundle, port), port) as pid,
    ):
        bodies = {}
        for rows in sizes:
            ids = [f"s{i}" for i in range(rows)]
            content = packed.step_body(ids)
            packed.begin(port, ids)
            packed.post(port, "/step/batch", content)  # no row of it may err
            bodies[rows] = Path(folder) / f"{rows}.msgpack"
            bodies[rows].write_bytes(content)
        loops = {rows: BareLoop(bundle, rows) for rows in sizes}
        for number in range(rounds):
            for rows in sizes:
                measure(loops[rows], port, pid, bodies[rows], seconds, watch, found[rows])
                ratios = [f"{found[rows].ratio(count):.2f}" for count in CONNECTIONS]
                print(f"round {number + 1}: {rows} rows, so far {ratios}", file=sys.stderr)
    return found


def _rows_of(found: dict[int, Found]) -> list[list[str]]:
    lines = []
    for rows, seen in found.items():
        for count in CONNECTIONS:
            line = [f"{rows:,}", str(count), spread(seen.bare), spread(seen.served[count])]
            line += [f"{seen.ratio(count):.2f}", f"{statistics.median(seen.p50_ms[count]):.2f}"]
            lines.append(line)
    return lines


def main() -> None:
    """Measure in rounds and print the table."""
    parser = argparse.ArgumentParser()
    discrete = [name for name, (_, _, box) in SIZES.items() if not box]
    parser.add_argument("--world", choices=discrete, default=discrete[0])
    parser.add_argument("--rows", default="64,256,1024", help="sizes, with commas between them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.rows.split(",")]
    watch = Watch()
    with pinned(load.LOAD_CORE):
        found = _compare(
            bundle_of(arguments.world), sizes, arguments.rounds, arguments.seconds, watch
        )
    print(f"{arguments.world}\n")
    columns = ["rows", "connections", "bare steps/s", "served steps/s", "served / bare", "p50 ms"]
    print_table(columns, _rows_of(found))
    if seen := found.get(CLAIMED_ROWS):
        best = max(seen.ratio(count) for count in CONNECTIONS)
        claim = f"\n{CLAIMED_ROWS:,} rows at {CLAIM} of the bare loop or more ({best:.2f})"
        print(verdict(claim, best >= CLAIM))
    print_circumstances(["onnxruntime"], watch=watch)


if __name__ == "__main__":
    main()
