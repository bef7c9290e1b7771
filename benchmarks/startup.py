"""How long from a server's start to its first good answer?

    python benchmarks/startup.py                          # 5 rounds; about 2 minutes
    python benchmarks/startup.py --only dreamserve --rounds 10

Two times from the start of the process: until its readiness answers 200 (asked every 5 ms), and
until the first step after that is answered. dreamserve serves the bundle of the tour and the world
of the other benchmarks; the peers serve the latter. Rounds go A B C ..., A B C ..., after one that
is thrown away: files are in the page cache, and modules compiled. The server has core 0.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import load
from bare import pinned
from contention import Watch
from http_step import OURS, SERVERS, Server
from tables import print_circumstances, print_table, spread
from worlds import bundle_of

WORLD = "lstm256-z32"
TAKECOVER = load.HERE.parent / "bundles" / "takecover"
# An installed package has its modules' bytecode beside it; one under development may not.
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": ""}

_BEGIN = ("/reset", {"session_id": "s0", "seed": 0})
_STEP = ("/step", {"session_id": "s0", "action": 0})
_INFER = {
    "parameters": {"sequence_id": 1, "sequence_start": True},
    "inputs": [{"name": "action", "shape": [1, 1], "datatype": "INT64", "data": [0]}],
}
# What each is sent once it is ready, where that is not a reset and a step.
FIRST: dict[str, Sequence[tuple[str, Any]]] = {
    "litserve": [_STEP],  # a session begins at its first use
    "triton": [("/v2/models/step/infer", _INFER)],
}


def measure(server: Server, bundle: Path, watch: Watch) -> tuple[float, float]:
    """Return the seconds from the start until ready, and until the first step."""
    with ExitStack() as running:
        # It is ended outside the watch: a worker that outlives its parent is nobody's to count.
        return watch.measure(lambda: _start(server, bundle, running), prepare=running.close)


def _start(server: Server, bundle: Path, running: ExitStack) -> tuple[float, float]:
    port = load.free_port()
    command, began_s = server.command(bundle, port), time.monotonic()
    running.enter_context(
        load.serving(command, port, server.ready, environment=ENVIRONMENT, poll_s=0.005)
    )
    ready_s = time.monotonic() - began_s
    for path, body in FIRST.get(server.name, [_BEGIN, _STEP]):
        status, content = load.call(port, "POST", path, body)
        if status != 200:
            sys.exit(f"{server.name}: POST {path} was answered {status}: {content[:500]!r}")
    return ready_s, time.monotonic() - began_s


def main() -> None:
    """Measure in rounds and print the table."""
    parser = argparse.ArgumentParser()
    names = [server.name for server in SERVERS]
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(names), help="names, with commas between them")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"there is no server {', '.join(sorted(unknown))}; there are {names}")
    bundles = [(server, bundle_of(WORLD)) for server in SERVERS if server.name in wanted]
    bundles += [(server, TAKECOVER) for server, _ in bundles if server.name == OURS]
    ready: dict[str, list[float]] = {}
    stepped: dict[str, list[float]] = {}
    watch = Watch()
    with pinned(load.LOAD_CORE):
        for number in range(-1, arguments.rounds):
            for server, bundle in bundles:
                ready_s, stepped_s = measure(server, bundle, watch)
                if number >= 0:
                    name = f"{server.name}, {bundle.name}"
                    ready.setdefault(name, []).append(ready_s)
                    stepped.setdefault(name, []).append(stepped_s)
                    print(f"round {number + 1}: {name} {ready_s:.2f} s", file=sys.stderr)
    rows = [[name, spread(ready[name], ".2f"), spread(stepped[name], ".2f")] for name in ready]
    print_table(["server", "until ready, s", "until its first step, s"], rows)
    print_circumstances(
        ["onnxruntime"], ["litserve", "nvidia-pytriton", "fastapi", "uvicorn", "torch"], watch
    )


if __name__ == "__main__":
    main()
