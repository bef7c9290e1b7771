"""An engine full of sessions at rest, in a process of its own, timed when it is told to.

    taskset -c 0 python benchmarks/at_rest.py lstm256-z32 --sessions 1000 --capacity 100000

Prints a line of JSON once it is full, then one for each line that it reads.
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


def ask(engine: Engine, request: Request) -> Any:
    """Return the answer, however many turns it takes."""
    answer = engine.submit(request)
    while not answer.done():
        engine.turn()
    return answer.result()


def fill(engine: Engine, count: int) -> list[str]:
    """Begin sessions under ids that the engine chooses, and take one step of each; return ids."""
    ids: list[str] = []
    for _ in range(0, count, FILL_ROWS):
        begun = ask(engine, ResetBatchRequest(min(FILL_ROWS, count - len(ids))))
        assert isinstance(begun, ResetBatchResult)
        step = StepBatchRequest(begun.session_ids, np.arange(len(begun.session_ids)) % 3)
        taken = ask(engine, step)
        assert isinstance(taken, StepBatchResult)
        assert not begun.errors
        assert not taken.errors
        ids += begun.session_ids
    return ids


def resident_bytes() -> int:
    """Return what this process holds of the machine's memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def times_us(engine: Engine, ids: list[str], rows: int, runs: int) -> list[float]:
    """Return what each turn took that stepped `rows` random sessions, from asking to answers."""
    taken = []
    for _ in range(runs):
        requests = [StepRequest(chosen, 1) for chosen in random.sample(ids, rows)]
        began_ns = time.perf_counter_ns()
        answers = [engine.submit(request) for request in requests]
        engine.turn()
        taken.append((time.perf_counter_ns() - began_ns) / 1e3)
        for answer in answers:
            answer.result(timeout=0)
    return taken


def main() -> None:
    """Fill, say how much that takes, and answer until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("world", choices=list(SIZES))
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--capacity", type=int, required=True)
    asked = parser.parse_args()
    world = load_world(bundle_of(asked.world))
    engine = Engine([world], capacity=asked.capacity)
    engine.warm()
    ids = fill(engine, asked.sessions)
    found = {"resident_bytes": resident_bytes(), "state_bytes": world.spec.state_bytes()}
    print(json.dumps(found), flush=True)
    random.seed(0)
    times_us(engine, ids, 1, SINGLES // 3)
    for _ in sys.stdin:
        single = statistics.median(times_us(engine, ids, 1, SINGLES))
        batch = statistics.median(times_us(engine, ids, BATCH_ROWS, BATCHES))
        print(json.dumps({"single_us": single, "batch_us": batch}), flush=True)


if __name__ == "__main__":
    main()
