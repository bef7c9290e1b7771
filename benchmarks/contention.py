"""Detects other processes' work on the server's core during a measurement, and repeats it.

`BENCH_ATTEMPTS=1` in the environment keeps every measurement, to test whether a script runs.
Foreign work is the difference of two counts of the system: how long the core was busy, and how long
our processes ran.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# The first and the last core that this process may use; the same one if there is only one.
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _CORES[0], _CORES[-1]

FOREIGN_SHARE = 0.10  # of a core; with more foreign work a measurement is repeated
ATTEMPTS = int(os.environ.get("BENCH_ATTEMPTS", "3"))
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Fields of a line of /proc/stat: user, nice, system, steal. The rest is idle, or interrupts, which
# on loopback come from the server's own I/O and count as no process's time.
_BUSY = (1, 2, 3, 8)


@dataclass
class Watch:
    """Repeats measurements disturbed by foreign work, up to `ATTEMPTS` times, and counts them."""

    cores: Sequence[int] = (SERVER_CORE,)
    measured: int = 0
    repeated: int = 0
    disturbed: list[float] = field(default_factory=list)  # foreign shares of kept measurements

    def measure(
        self,
        run: Callable[[], T],
        pid: int | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> T:
        """Return the result of `run`; only the work of `pid` and its descendants is not foreign.

        `pid` defaults to this process. `prepare` runs before each attempt, unwatched. The first
        undisturbed attempt counts, or else the least disturbed one.
        """
        self.measured += 1
        attempts = []
        for attempt in range(ATTEMPTS):
            self.repeated += attempt > 0
            if prepare is not None:
                prepare()
            foreign, result = self._once(run, os.getpid() if pid is None else pid)
            if foreign <= FOREIGN_SHARE:
                return result
            attempts.append((foreign, result))
        foreign, result = min(attempts, key=lambda pair: pair[0])
        self.disturbed.append(foreign)
        return result

    def _once(self, run: Callable[[], T], pid: int) -> tuple[float, T]:
        began_s, busy_s, own_s = time.monotonic(), _busy_s(self.cores), _own_s(pid)
        result = run()
        foreign_s = _busy_s(self.cores) - busy_s - (_own_s(pid) - own_s)
        return foreign_s / (time.monotonic() - began_s), result

    def __str__(self) -> str:
        kept = f"{len(self.disturbed)} kept although disturbed"
        if self.disturbed:
            kept += f" (by up to {max(self.disturbed):.0%})"
        return (
            f"{self.measured} measurements; repeated for foreign work on core"
            f" {','.join(map(str, self.cores))} above {FOREIGN_SHARE:.0%}, {ATTEMPTS} attempts"
            f" at most: {self.repeated}; {kept}"
        )


def _busy_s(cores: Sequence[int]) -> float:
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    names = {f"cpu{core}" for core in cores}
    ticks = (int(line[i]) for line in lines if line[0] in names for i in _BUSY)
    return sum(ticks) * _TICK_S


def _own_s(pid: int) -> float:
    """Return the CPU time of a process and its descendants, ended ones included."""
    children: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            # Fields after the name (it may contain anything): state, parent, ...; times: 11 to 14.
            parts = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the process has ended
        children.setdefault(int(parts[1]), []).append(int(place.name))
        used[int(place.name)] = sum(map(int, parts[11:15]))
    ticks, waiting = 0, [pid]
    while waiting:
        current = waiting.pop()
        ticks += used.get(current, 0)
        waiting += children.get(current, [])
    return ticks * _TICK_S
