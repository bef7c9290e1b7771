"""An engine with many idle sessions in a process of its own, timed on request.

    taskset -c 0 python benchmarks/idle_engine.py lstm256-z32 --sessions 1000 --capacity 100000

Prints one line of JSON once the sessions exist, then one for each line on its standard input.
"""

import argparse
import gc
import json
import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from dreamserve.engine.engine import Engine
from dreamserve.loading import load_world
from dreamserve_protocol.batches import (
    ResetBatchRequest,
    ResetBatchResult,
    StepBatchRequest,
    StepBatchResult,
)
from dreamserve_protocol.markers import Request
from dreamserve_protocol.step import StepRequest
from worlds import SIZES, bundle_of

FILL_ROWS = 1000
BATCH_ROWS = 64
SINGLES, BATCHES = 3000, 300


def run(engine: Engine, request: Request) -> Any:
    """Run the engine until it has answered `request`; return the result."""
    future = engine.submit(request)
    while not future.done():
        engine.turn()
    return future.result()


def fill(engine: Engine, count: int) -> list[str]:
    """Create sessions with ids chosen by the engine and step each once; return the ids."""
    ids: list[str] = []
    for _ in range(0, count, FILL_ROWS):
        created = run(engine, ResetBatchRequest(min(FILL_ROWS, count - len(ids))))
        assert isinstance(created, ResetBatchResult)
        step = StepBatchRequest(created.session_ids, np.arange(len(created.session_ids)) % 3)
        stepped = run(engine, step)
        assert isinstance(stepped, StepBatchResult)
        assert not created.errors
        assert not stepped.errors
        ids += created.session_ids
    return ids


def resident_bytes() -> int:
    """Return the size of this process's resident set."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def times_us(engine: Engine, ids: list[str], rows: int, runs: int) -> list[float]:
    """Return the µs of each run: submit a step for each of `rows` random sessions, run the turn."""
    times = []
    for _ in range(runs):
        requests = [StepRequest(chosen, 1) for chosen in random.sample(ids, rows)]
        began_ns = time.perf_counter_ns()
        futures = [engine.submit(request) for request in requests]
        engine.turn()
        times.append((time.perf_counter_ns() - began_ns) / 1e3)
        for future in futures:
            future.result(timeout=0)
    return times


def main() -> None:
    """Create the sessions, print their memory, then time steps until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("world", choices=list(SIZES))
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--capacity", type=int, required=True)
    args = parser.parse_args()
    world = load_world(bundle_of(args.world))
    engine = Engine([world], capacity=args.capacity)
    engine.warm()
    ids = fill(engine, args.sessions)
    report = {"resident_bytes": resident_bytes(), "state_bytes": world.spec.state_bytes()}
    print(json.dumps(report), flush=True)
    random.seed(0)
    times_us(engine, ids, 1, SINGLES // 3)
    for _ in sys.stdin:
        single = statistics.median(times_us(engine, ids, 1, SINGLES))
        batch = statistics.median(times_us(engine, ids, BATCH_ROWS, BATCHES))
        print(json.dumps({"single_us": single, "batch_us": batch}), flush=True)


if __name__ == "__main__":
    main()
