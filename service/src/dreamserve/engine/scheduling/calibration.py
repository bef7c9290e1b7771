"""Measures a world's speed on this machine once, before its first request, and derives

sizes         the batch sizes that batches are padded to; each one is run once to warm it up
slice_rows    the rows of one slice of long work, which bounds how long a step waits
latency       the duration of a world call by batch size, for plans with a time budget
inline_rows   the largest batch that runs in the caller's thread, because a switch would cost more
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dreamserve.backends.base import DeviceBackend
from dreamserve.backends.check import step_s
from dreamserve.engine.imagination.latency import LatencyModel
from dreamserve.engine.world import World

UNMEASURED_SLICE_ROWS = 128
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Calibration:
    """The measured parameters of a world."""

    slice_rows: int
    inline_rows: int  # 0: never
    latency: LatencyModel


def batch_sizes(largest: int) -> tuple[int, ...]:
    """Return the sizes that batches are padded to: 1, 2, 3, 4, 6, 8, 12, 16, … `largest`.

    Powers of two and the midpoints between them: at most a third of the rows is padding.
    """
    powers = [2**i for i in range(largest.bit_length())]
    sizes = {size for power in powers for size in (power, power + power // 2)}
    return (*sorted(size for size in sizes if size < largest), largest)


def calibrate(
    world: World,
    sizes: tuple[int, ...],
    slice_ms: float,
    check_going: Callable[[], None] = lambda: None,
) -> Calibration:
    """Run every graph at every batch size, and return the parameters for slices of `slice_ms`.

    `check_going` is called between runs; what it raises ends them.
    """
    took_s = {}
    for size in sizes:
        check_going()
        took_s[size] = step_s(world.spec, world.backend, size, _ROUNDS)
    world.warm()
    rows = _largest_within(took_s, 1e-3 * slice_ms)
    # Waiting for a device in the caller's thread would block its event loop.
    blocks = isinstance(world.backend, DeviceBackend)
    return Calibration(rows, 0 if blocks else rows, LatencyModel(took_s))


def _largest_within(took_s: Mapping[int, float], bound_s: float) -> int:
    return max((size for size, s in took_s.items() if s <= bound_s), default=min(took_s))
