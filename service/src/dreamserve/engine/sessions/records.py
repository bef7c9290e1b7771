"""A session's complete state as one value, and the windows of such records for rewinding."""

from collections import deque
from dataclasses import dataclass
from typing import Any

from dreamserve.backends.base import Array, State
from dreamserve_protocol.common import LARGEST_INTEGER

NO_LIMIT = LARGEST_INTEGER + 1  # the `max_steps` of a dream without one: no step has this number


@dataclass(frozen=True, slots=True, eq=False)
class SessionRecord:
    """A session after one of its steps. Its arrays must not be modified."""

    latent: Array  # (1, Z)
    state: State  # (1, *shape) each
    seed: int
    step: int
    temperature: float
    terminated: bool
    action: Any  # of the last step, as the slab stores it; zero before the first
    reward: float  # of the last step, a float32; zero before the first
    signals: tuple[float, ...]  # of the last step, float32; none before the first
    last_answer: Any  # the last step's result (`slab.LastAnswer`), if it holds more than this
    last_plan: Any = None  # `slab.LastPlan`
    rewind_window: int = 0  # steps that are kept for rewinding
    max_steps: int = NO_LIMIT  # of the dream
    began_at: int = 0  # the step after which the dream began

    @property
    def truncated(self) -> bool:
        """Whether the dream has reached `max_steps`."""
        return self.step - self.began_at >= self.max_steps


Window = deque[SessionRecord]  # of one session, oldest first; `maxlen` is its `rewind_window`


class Windows:
    """The rewind windows of one slab's sessions, by slot; few sessions have one."""

    def __init__(self) -> None:
        self._by_slot: dict[int, Window] = {}
        self.reserved = 0  # steps, summed over all windows

    def __len__(self) -> int:
        return len(self._by_slot)

    def get(self, slot: int) -> Window | None:
        """Return the window of `slot`, if it has one."""
        return self._by_slot.get(slot)

    def length(self, slot: int) -> int:
        """Return the number of steps that `slot` may keep; 0 without a window."""
        window = self._by_slot.get(slot)
        return 0 if window is None else window.maxlen or 0

    def open(self, slot: int, length: int) -> None:
        """Give `slot`, which has no window, one of `length` steps; none for length 0."""
        if length:
            self._by_slot[slot] = deque(maxlen=length)
            self.reserved += length

    def close(self, slot: int) -> None:
        """Remove the window of `slot`, if it has one."""
        self.reserved -= self.length(slot)
        self._by_slot.pop(slot, None)
