"""Was the server's core the server's own while it was measured? A round that was not is repeated.

`BENCH_ATTEMPTS=1` in the environment keeps every round: to see whether a script runs.
The system counts how busy each core was, and how long each process ran; what a core did for
nobody of ours it did for somebody else.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# The first and the last core that this process may use; where there is one, it is both.
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _CORES[0], _CORES[-1]

FOREIGN_SHARE = 0.10  # of a core; more than this in foreign hands makes a round worthless
ATTEMPTS = int(os.environ.get("BENCH_ATTEMPTS", "3"))
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Fields of a line of /proc/stat: user, nice, system, steal. The rest is idle, or interrupts, which
# on a loopback are the server's own sending and receiving, and nobody's process time.
_BUSY = (1, 2, 3, 8)


@dataclass
class Watch:
    """Repeats what met too much foreign work, a few times at most, and tells of it."""

    cores: Sequence[int] = (SERVER_CORE,)
    measured: int = 0
    repeated: int = 0
    disturbed: list[float] = field(default_factory=list)  # foreign shares that were kept

    def measure(
        self,
        run: Callable[[], T],
        pid: int | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> T:
        """Return what `run` finds; the work is that of process `pid` and its descendants.

        Without a `pid` it is this process. `prepare` goes before each attempt, unwatched. The first
        undisturbed attempt counts, or else the one that was disturbed least.
        """
        self.measured += 1
        attempts = []
        for attempt in range(ATTEMPTS):
            self.repeated += attempt > 0
            if prepare is not None:
                prepare()
            foreign, found = self._once(run, os.getpid() if pid is None else pid)
            if foreign <= FOREIGN_SHARE:
                return found
            attempts.append((foreign, found))
        foreign, found = min(attempts, key=lambda pair: pair[0])
        self.disturbed.append(foreign)
        return found

    def _once(self, run: Callable[[], T], pid: int) -> tuple[float, T]:
        began_s, busy_s, own_s = time.monotonic(), _busy_s(self.cores), _own_s(pid)
        found = run()
        foreign_s = _busy_s(self.cores) - busy_s - (_own_s(pid) - own_s)
        return foreign_s / (time.monotonic() - began_s), found

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
    """Return the CPU time of a process, its descendants, and those of them that have ended."""
    children: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may hold anything: state, parent, ..., from the 12th on times.
            parts = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        children.setdefault(int(parts[1]), []).append(int(place.name))
        used[int(place.name)] = sum(map(int, parts[11:15]))
    ticks, waiting = 0, [pid]
    while waiting:
        now = waiting.pop()
        ticks += used.get(now, 0)
        waiting += children.get(now, [])
    return ticks * _TICK_S
