"""How long from a server's start to its first successful response?

    python benchmarks/startup.py                          # 5 rounds; about 2 minutes
    python benchmarks/startup.py --only dreamserve --rounds 10

Two times from the start of the process: until the readiness route returns 200 (polled every 5 ms),
and until the first step after that has a response. dreamserve serves the TakeCover bundle and the
world of the other benchmarks; the peers serve the latter. Rounds go A B C ..., A B C ..., after one
unmeasured round that fills the page cache and compiles modules. The server has core 0.
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
# Let servers write bytecode, as an installed package has it.
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": ""}

_BEGIN = ("/reset", {"session_id": "s0", "seed": 0})
_STEP = ("/step", {"session_id": "s0", "action": 0})
_INFER = {
    "parameters": {"sequence_id": 1, "sequence_start": True},
    "inputs": [{"name": "action", "shape": [1, 1], "datatype": "INT64", "data": [0]}],
}
# Requests sent to a server once it is ready, if not a reset and a step.
FIRST: dict[str, Sequence[tuple[str, Any]]] = {
    "litserve": [_STEP],  # a session begins at its first use
    "triton": [("/v2/models/step/infer", _INFER)],
}


def measure(server: Server, bundle: Path, watch: Watch) -> tuple[float, float]:
    """Return the seconds from the start until ready, and until the first step."""
    with ExitStack() as running:
        # The server is stopped outside the watch, which cannot attribute orphaned workers' time.
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
            sys.exit(f"{server.name}: POST {path} returned {status}: {content[:500]!r}")
    return ready_s, time.monotonic() - began_s


def main() -> None:
    """Measure in rounds and print the table."""
    parser = argparse.ArgumentParser()
    names = [server.name for server in SERVERS]
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(names), help="comma-separated names")
    arguments = parser.parse_args()
    selected = arguments.only.split(",")
    if unknown := set(selected) - set(names):
        parser.error(f"no server {', '.join(sorted(unknown))}; choose from {names}")
    bundles = [(server, bundle_of(WORLD)) for server in SERVERS if server.name in selected]
    bundles += [(server, TAKECOVER) for server, _ in bundles if server.name == OURS]
    ready: dict[str, list[float]] = {}
    stepped: dict[str, list[float]] = {}
    watch = Watch()
    with pinned(load.LOAD_CORE):
        for number in range(-1 if arguments.rounds > 1 else 0, arguments.rounds):  # -1 warms up
            for server, bundle in bundles:
                ready_s, stepped_s = measure(server, bundle, watch)
                if number >= 0:
                    name = f"{server.name}, {bundle.name}"
                    ready.setdefault(name, []).append(ready_s)
                    stepped.setdefault(name, []).append(stepped_s)
                    print(f"round {number + 1}: {name} {ready_s:.2f} s", file=sys.stderr)
    rows = [[name, spread(ready[name], ".2f"), spread(stepped[name], ".2f")] for name in ready]
    print_table(["server", "until ready, s", "until the first step, s"], rows)
    print_circumstances(
        ["onnxruntime"], ["litserve", "nvidia-pytriton", "fastapi", "uvicorn", "torch"], watch
    )


if __name__ == "__main__":
    main()
