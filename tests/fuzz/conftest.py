"""The loop that feeds generated input to a target, with bounds of time and memory for each case."""

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

CASE_S = 0.05  # CPU time of this process; of a slow case, the better of two runs
GROWTH_BYTES = 128 * 2**20  # of the process's peak, over all cases
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

Make = Callable[[Random], Any]
Run = Callable[[Any], object]


def peak_bytes(reset: bool = False) -> int:
    """Return the peak of the resident memory, of which Linux knows; 0 elsewhere."""
    if not STATUS.exists():
        return 0
    if reset:
        CLEAR.write_text("5")
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


class Fuzzer:
    """Runs generated cases: `cases` of them, or as many as `seconds` allow."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.seconds, self.seed = seconds, seed
        self.done = 0

    def run(self, make: Make, run: Run, cases: int, case_s: float = CASE_S) -> None:
        """Give what `make` returns to `run`, which raises for a fault. Raises AssertionError."""
        gc.collect()
        gc.freeze()  # so that a collection in a case does not take the whole suite's time
        began_bytes, until_s = peak_bytes(reset=True), time.monotonic() + self.seconds
        number = 0
        while time.monotonic() < until_s if self.seconds else number < cases:
            case = make(Random(f"{self.seed} {number}"))
            try:
                took_s = self._timed(run, case)
                if took_s > case_s:
                    took_s = min(took_s, self._timed(run, case))
                assert took_s <= case_s, f"took {took_s:.3f} s of CPU time"
            except BaseException as error:
                shown = f"{case!r}"[:3000]
                raise AssertionError(f"seed {self.seed}, case {number}: {shown}") from error
            number += 1
        gc.unfreeze()
        self.done = number
        grown = peak_bytes() - began_bytes
        assert grown <= GROWTH_BYTES, f"the peak grew by {grown / 2**20:.0f} MiB"
        sys.stderr.write(f"{number} cases, peak grown by {grown / 2**20:.0f} MiB\n")

    @staticmethod
    def _timed(run: Run, case: Any) -> float:
        began_s = time.process_time()
        run(case)
        return time.process_time() - began_s


@pytest.fixture
def fuzzer(request: pytest.FixtureRequest) -> Fuzzer:
    """Return a fuzzer with the duration and the seed of the command line."""
    option = request.config.getoption
    return Fuzzer(option("--fuzz-seconds"), option("--fuzz-seed"))
