"""Learning rates as functions of how much of the whole training is done.

A resumed training therefore has the rates of an uninterrupted one. A longer one has the rates that
a training of the new length has from there on.
"""

import math
from typing import NamedTuple

COSINE_END = 1 / 50  # of the full rate
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = ONE_CYCLE_START / 10_000
ONE_CYCLE_RISE = 0.1  # share of the steps
SHORTEST_CYCLE = 20  # steps


class CyclePoint(NamedTuple):
    """A point of the one-cycle schedule."""

    factor: float  # of the full rate
    beta1: float  # Adam's; low while the rate is high


def cosine(done: float) -> float:
    """Return the factor of the rate after the share `done` of training, from 1 to COSINE_END."""
    return _between(1.0, COSINE_END, done)


def one_cycle(step: int, steps: int) -> CyclePoint:
    """Return the rate of `step` of `steps`: a short rise, then a long fall (Smith & Topin 2017)."""
    last = max(steps, SHORTEST_CYCLE) - 1
    top = ONE_CYCLE_RISE * (last + 1) - 1
    if step <= top:
        return CyclePoint(
            _between(ONE_CYCLE_START, 1.0, step / top), _between(0.95, 0.85, step / top)
        )
    fall = min((step - top) / (last - top), 1.0)
    return CyclePoint(_between(1.0, ONE_CYCLE_END, fall), _between(0.85, 0.95, fall))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
