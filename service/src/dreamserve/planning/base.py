"""What a planner is: a generator of candidates that is told what each of them is worth.

It knows nothing of worlds. Whoever drives it dreams the candidates, in slices of any size:

    yields   actions (N, H) int64 for Discrete, (N, H, A) float32 for Box
    is sent  values (N,) float64; -inf for a candidate that must never win
    returns  Plan

Its random numbers come from `uniform(iteration, shape)`, in (0, 1), so it is as deterministic as
that. N candidates, H steps, A action components.
"""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dreamserve.manifest import ActionSpace, DiscreteSpace

Array = npt.NDArray[np.float32]
Actions = npt.NDArray[Any]
Values = npt.NDArray[np.float64]
Uniform = Callable[[int, tuple[int, ...]], Array]


class Plan(NamedTuple):
    """The best sequence that was tried, and its value; -inf if none was any good."""

    actions: Actions  # (H,) or (H, A)
    value: float
    iterations: int


Planner = Generator[Actions, Values, Plan]


def uniform_actions(space: ActionSpace, uniforms: Array) -> Actions:
    """Map uniforms in (0, 1) to actions: (…,) for Discrete, (…, A) for Box."""
    if isinstance(space, DiscreteSpace):
        return np.minimum((uniforms * space.n).astype(np.int64), space.n - 1)
    low, high = np.array(space.low, np.float32), np.array(space.high, np.float32)
    return np.clip(low + uniforms * (high - low), low, high)


def sequence_shape(space: ActionSpace, candidates: int, horizon: int) -> tuple[int, ...]:
    """Return the shape of N sequences of H actions."""
    return (candidates, horizon, *(() if isinstance(space, DiscreteSpace) else space.shape))


def better(best: Plan | None, actions: Actions, values: Values, iteration: int) -> Plan:
    """Return the best candidate of this iteration, or the one known before if that is no worse."""
    i = int(np.argmax(values))
    if best is not None and best.value >= values[i]:
        return best._replace(iterations=iteration + 1)
    return Plan(actions[i].copy(), float(values[i]), iteration + 1)
