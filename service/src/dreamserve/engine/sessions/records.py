"""All that a session is, as one value, and the windows of such records that sessions go back to."""

from collections import deque
from dataclasses import dataclass
from typing import Any

from dreamserve.backends.base import Array, State


@dataclass(frozen=True, slots=True, eq=False)
class SessionRecord:
    """A session after one of its steps. Its arrays are nobody else's to write to."""

    latent: Array  # (1, Z)
    state: State  # (1, *shape) each
    seed: int
    step: int
    temperature: float
    terminated: bool
    action: Any  # of the last step, as the slab keeps it; zero before the first
    reward: float  # of the last step, a float32; zero before the first
    last_answer: Any  # the last step's result (`slab.LastAnswer`), if it says more than this
    last_plan: Any = None  # `slab.LastPlan`
    rewind_window: int = 0  # steps that it can be rewound by
    max_steps: int = 0  # of the dream; 0: no limit
    began_at: int = 0  # the step after which the dream began

    @property
    def truncated(self) -> bool:
        """Whether the dream has reached its limit."""
        return 0 < self.max_steps <= self.step - self.began_at


Window = deque[SessionRecord]  # one session's, the oldest first; `maxlen` is what it asked for


class Windows:
    """The windows of one slab's sessions, by slot; few have one."""

    def __init__(self) -> None:
        self._by_slot: dict[int, Window] = {}
        self.asked = 0  # steps, by all of them together

    def __len__(self) -> int:
        return len(self._by_slot)

    def get(self, slot: int) -> Window | None:
        """Return the window of `slot`, if it has one."""
        return self._by_slot.get(slot)

    def length(self, slot: int) -> int:
        """Return how many steps `slot` asked to keep."""
        window = self._by_slot.get(slot)
        return 0 if window is None else window.maxlen or 0

    def open(self, slot: int, length: int) -> None:
        """Keep up to `length` steps of a slot that has no window; none are no window."""
        if length:
            self._by_slot[slot] = deque(maxlen=length)
            self.asked += length

    def close(self, slot: int) -> None:
        """Keep nothing of `slot` any more."""
        self.asked -= self.length(slot)
        self._by_slot.pop(slot, None)
