"""How fast the worlds run here, and what follows from it: measured once, before the first request.

sizes         batches are filled up to few different sizes, each one warm
slice_rows    rows of one slice of a plan: a step waits for no more than that
latencies        what a call and a row of each world take, for plans with a budget
inline_rows   steps that cost less in the caller's own thread than handing them to another
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dreamserve.backends.base import KeepsState
from dreamserve.backends.check import step_s
from dreamserve.engine.imagination.latency import LatencyModel
from dreamserve.engine.world import World

UNMEASURED_SLICE_ROWS = 128
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the engine goes by."""

    slice_rows: int
    inline_rows: int
    latencies: dict[str, LatencyModel]  # by world


def batch_sizes(largest: int) -> tuple[int, ...]:
    """Return the sizes that batches are filled up to: 1, 2, 3, 4, 6, 8, 12, 16, … `largest`.

    Powers of two and the middles between: a CPU pays for every row, so at most a third is wasted.
    """
    powers = [2**i for i in range(largest.bit_length())]
    sizes = {size for power in powers for size in (power, power + power // 2)}
    return (*sorted(size for size in sizes if size < largest), largest)


def calibrate(worlds: Iterable[World], sizes: tuple[int, ...], slice_ms: float) -> Calibration:
    """Run every graph at every size it will meet, and say what fits into `slice_ms`."""
    fits: list[int] = []
    latencies = {}
    inline = True
    for world in worlds:
        took_s = {size: step_s(world.spec, world.backend, size, _ROUNDS) for size in sizes}
        world.warm()
        latencies[world.name] = LatencyModel(took_s)
        fits.append(_largest_within(took_s, 1e-3 * slice_ms))
        # A device of its own is waited for, and meanwhile the event loop should go on.
        inline = inline and not isinstance(world.backend, KeepsState)
    return Calibration(min(fits), min(fits) if inline else 0, latencies)


def _largest_within(took_s: Mapping[int, float], bound_s: float) -> int:
    return max((size for size, s in took_s.items() if s <= bound_s), default=min(took_s))
