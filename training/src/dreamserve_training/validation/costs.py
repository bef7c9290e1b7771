"""Checks of memory use, which must not grow, and of speed, which is only reported."""

import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from dreamserve.backends.accuracy import random_step
from dreamserve.engine.world import World
from dreamserve_training.export.parity import random_inputs
from dreamserve_training.validation.report import CheckFailed

BATCHES = (1, 64, 512)
ROUNDS = 5
ROUND_S = 0.05
GROWTH_ALLOWED_BYTES = 16 * 2**20


def speed(world: World) -> str:
    """Report median steps and encoded frames per second on this machine; never fails."""
    rng, rates = np.random.default_rng(0), []
    for batch in BATCHES:
        step = random_step(world.spec, rng, batch)
        rates.append(f"{batch * _calls_per_s(partial(world.backend.step, step)):,.0f}")
    seen, *state = random_inputs(world.spec, "encode", 8, rng)
    encode = len(seen) * _calls_per_s(partial(world.backend.encode, seen, tuple(state)))
    batches = "/".join(map(str, BATCHES))
    return f"{' / '.join(rates)} steps/s at batch {batches}, {encode:,.0f} observations/s encoded"


def memory(world: World) -> str:
    """Check that 1,000 more batches do not increase peak memory by over GROWTH_ALLOWED_BYTES."""
    step = random_step(world.spec, np.random.default_rng(0), 64)
    _repeat(partial(world.backend.step, step), 200)
    before = _peak_bytes()
    _repeat(partial(world.backend.step, step), 1000)
    growth = _peak_bytes() - before
    if growth > GROWTH_ALLOWED_BYTES:
        raise CheckFailed(f"1,000 more batches increased memory by {growth / 2**20:.0f} MiB")
    state = world.spec.state_bytes()
    return f"{state:,} bytes per dream; {growth / 2**20:.1f} MiB more after 1,000 batches"


def _calls_per_s(call: Callable[[], object]) -> float:
    call()
    start_s = time.perf_counter()
    call()
    once_s = time.perf_counter() - start_s
    repeats = max(1, int(ROUND_S / max(once_s, 1e-6)))
    rates = []
    for _ in range(ROUNDS):
        start_s = time.perf_counter()
        _repeat(call, repeats)
        rates.append(repeats / (time.perf_counter() - start_s))
    return median(rates)


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
