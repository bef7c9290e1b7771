"""Which long work runs next, and which must come again later. Policy only, as `scheduler`.

Work is in one of two lanes. What a caller waits for at once is served `soon`: batches, resets, and
plans whose budget is at most SOON_S. These share the time: the one with the fewest slices is next.
The `later` lane holds the other plans, samples and rollouts. Sharing would only make all of them
late, so they run one after another, ordered by arrival plus expected duration: short work passes
long work, but work waits for nothing that arrives after its own expected duration has passed. If
both lanes have work, the later one leads every fourth slice.

Work is refused when its lane is full, or when it would wait for over `max_wait_s`. The refusal says
when to come again: durations are expected from the sizes, at the pace of the work done so far. Of
the work with over SMALL_BYTES, each lane begins one at a time, which bounds their memory.
"""

from dataclasses import dataclass
from math import inf
from typing import Generic, NoReturn, TypeVar

from dreamserve_protocol.errors import OverloadedError

SOON_S = 1.0  # the longest budget of a plan that is served soon
SMALL_BYTES = 8 * 2**20
LATER_EVERY = 4  # slices, of which one is led by the later lane
LATER_AT_ONCE = 16  # jobs of the later lane that may share a slice
_FIRST_PACE_S = 20e-6  # of a step, until the first work has ended
_PAST = 0.8  # share of the past in the pace, at each end of work

J = TypeVar("J")


@dataclass(frozen=True, slots=True)
class Ask:
    """What is known of long work when its request arrives."""

    steps: int = 0  # imagined steps, at most
    soon: bool = True
    budget_s: float = inf


@dataclass(slots=True, eq=False)
class Entry:
    """One job in progress."""

    ask: Ask
    arrived_s: float
    is_large: bool
    slices: int = 0  # served so far
    took_s: float = 0.0  # by them


class Jobs(Generic[J]):
    """The long work in progress. Not thread-safe: its owner locks."""

    def __init__(self, max_jobs: int, max_wait_s: float) -> None:
        self._max_jobs, self._max_wait_s = max_jobs, max_wait_s
        self._lanes: dict[bool, dict[J, Entry]] = {True: {}, False: {}}  # by `soon`
        self._admitted = {True: 0, False: 0}  # requests that are queued and will be jobs
        self._large: dict[bool, J | None] = {True: None, False: None}  # begun
        self._later: list[J] | None = None  # the first jobs of the later lane, once sorted
        self._first_free_s: dict[bool, float] = {}  # of full lanes, until something changes
        self._slices = 0
        self._steps, self._took_s = 1.0, _FIRST_PACE_S  # of ended work; older work counts less

    def __len__(self) -> int:
        return len(self._lanes[True]) + len(self._lanes[False])

    @property
    def pace_s(self) -> float:
        """Seconds that work takes for each step of its size, all other work included."""
        return self._took_s / self._steps

    def all(self) -> list[J]:
        """Return all jobs."""
        return [job for lane in self._lanes.values() for job in lane]

    def admit(self, ask: Ask, now_s: float) -> None:
        """Count a request that will be a job. Raises OverloadedError: when to come again."""
        lane = self._lanes[ask.soon]
        if len(lane) + self._admitted[ask.soon] >= self._max_jobs:
            self._refuse_full(ask.soon)
        if not ask.soon and (wait_s := self._wait_s(ask, now_s)) > self._max_wait_s:
            what = f"this would wait for {wait_s:.1f} s, the limit is {self._max_wait_s:g} s"
            _refuse(what, wait_s - self._max_wait_s)
        self._admitted[ask.soon] += 1

    def readmit(self, ask: Ask) -> None:
        """Count a request that was admitted before and will be a job later than expected."""
        self._admitted[ask.soon] += 1

    def arrive(self, ask: Ask) -> None:
        """Stop counting an admitted request: it has left the queue."""
        self._admitted[ask.soon] -= 1

    def begin(self, job: J, ask: Ask, memory_bytes: int, now_s: float) -> None:
        """Add a job. Raises OverloadedError if its lane is full."""
        lane = self._lanes[ask.soon]
        if len(lane) >= self._max_jobs:
            self._refuse_full(ask.soon)
        lane[job] = Entry(ask, now_s, memory_bytes > SMALL_BYTES)
        self._later = None
        self._first_free_s.clear()

    def is_unbegun(self, job: J) -> bool:
        """Return whether a job holds nothing yet of the over SMALL_BYTES that it will."""
        entry = self._entry(job)
        return entry.is_large and not entry.slices

    def order(self) -> list[J]:
        """Return the jobs that may run, the next one first; of the later lane, only the first."""
        self._slices += 1
        soon = [job for job, _ in sorted(self._runnable(True), key=lambda one: one[1].slices)]
        if self._later is None:
            due = sorted(self._runnable(False), key=lambda one: self._due_s(one[1]))
            self._later = [job for job, _ in due[:LATER_AT_ONCE]]
        if self._slices % LATER_EVERY == 0:
            return [*self._later, *soon]
        return [*soon, *self._later]

    def serve(self, jobs: list[J], took_s: float) -> None:
        """Note that these jobs shared a slice, which took that long."""
        self._first_free_s.clear()
        for job in jobs:
            entry = self._entry(job)
            entry.slices += 1
            entry.took_s += took_s / len(jobs)
            if entry.is_large and self._large[entry.ask.soon] is None:
                self._large[entry.ask.soon], self._later = job, None

    def end(self, job: J, completed: bool) -> None:
        """Remove a job; learn the pace from one that was completed without a budget."""
        entry = self._entry(job)
        del self._lanes[entry.ask.soon][job]
        self._later = None
        self._first_free_s.clear()
        if self._large[entry.ask.soon] is job:
            self._large[entry.ask.soon] = None
        if completed and entry.ask.steps and entry.ask.budget_s == inf:
            self._steps = _PAST * self._steps + entry.ask.steps
            self._took_s = _PAST * self._took_s + entry.took_s

    def empty(self) -> list[J]:
        """Remove and return all jobs."""
        jobs = self.all()
        self._first_free_s.clear()
        for soon, lane in self._lanes.items():
            lane.clear()
            self._large[soon] = self._later = None
        return jobs

    def _entry(self, job: J) -> Entry:
        return self._lanes[True].get(job) or self._lanes[False][job]

    def _runnable(self, soon: bool) -> list[tuple[J, Entry]]:
        """Return the jobs of a lane without those that wait for another one's memory."""
        lane, large = self._lanes[soon], self._large[soon]
        if large is None:
            waiting = [job for job, entry in lane.items() if entry.is_large]
            large = min(waiting, key=lambda job: self._due_s(lane[job]), default=None)
        return [one for one in lane.items() if not one[1].is_large or one[0] is large]

    def _lasts_s(self, ask: Ask) -> float:
        """Return the expected duration."""
        return min(ask.steps * self.pace_s, ask.budget_s)

    def _due_s(self, entry: Entry) -> float:
        return entry.arrived_s + self._lasts_s(entry.ask)

    def _wait_s(self, ask: Ask, now_s: float) -> float:
        """Return how long the work that is due before a request's will take.

        `_due_s` is inlined: every refusal sums over up to `max_jobs` entries.
        """
        pace_s, wait_s = self.pace_s, 0.0
        due_s = now_s + self._lasts_s(ask)
        for entry in self._lanes[False].values():
            lasts_s = min(entry.ask.steps * pace_s, entry.ask.budget_s)
            if entry.arrived_s + lasts_s <= due_s and lasts_s > entry.took_s:
                wait_s += lasts_s - entry.took_s
        return wait_s

    def _refuse_full(self, soon: bool) -> NoReturn:
        if soon not in self._first_free_s:
            left_s = [
                self._lasts_s(entry.ask) - entry.took_s for entry in self._lanes[soon].values()
            ]
            self._first_free_s[soon] = max(0.0, min(left_s, default=0.0))
        what = f"{self._max_jobs} plans, samples, rollouts or batches are in progress"
        _refuse(what, self._first_free_s[soon])


def _refuse(why: str, retry_after_s: float) -> NoReturn:
    error = OverloadedError(f"{why}; try again in {retry_after_s:.1f} s")
    error.retry_after_s = retry_after_s
    raise error
