"""A histogram that costs next to nothing to write: a list of floats, sorted into buckets together.

Measuring a step must take less than a microsecond. So an observed value is appended to a list, and
numpy sorts many at once.
"""

import threading
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
T = TypeVar("T")

FOLD = 1024  # values that are sorted at once

# Upper bounds of buckets.
SECONDS = (
    *(1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
NATS = (-4.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 30.0, 100.0)


class Pending(Generic[T]):
    """A list that one thread at a time appends to, without a lock, and any thread empties."""

    __slots__ = ("_items", "_lock", "append")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._lock = threading.Lock()
        self.append = self._items.append

    def __len__(self) -> int:
        return len(self._items)

    def take(self) -> list[T]:
        """Remove all items, and return them."""
        with self._lock:
            taken = self._items.copy()
            del self._items[: len(taken)]  # not what was appended meanwhile
        return taken


class Histogram:
    """Counts values by bucket, and sums them. One thread at a time adds; any thread reads."""

    __slots__ = ("_bounds", "_counts", "_lock", "_recent", "_sum", "bounds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)  # ascending; values beyond the last have a bucket of their own
        self._bounds, self._counts = np.array(bounds), np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0
        self._recent = Pending[float]()  # not sorted yet
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """Count one value."""
        self._recent.append(value)
        if len(self._recent) >= FOLD:
            self.read()

    def add_all(self, values: Float64) -> None:
        """Count values (N,)."""
        counts = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(values.sum())

    def read(self) -> tuple[list[int], float]:
        """Return the number of values up to each bound, and of all, and their sum."""
        self.add_all(np.array(self._recent.take(), np.float64))
        with self._lock:
            return np.cumsum(self._counts).tolist(), self._sum

    @property
    def count(self) -> int:
        """The number of values."""
        return self.read()[0][-1]
