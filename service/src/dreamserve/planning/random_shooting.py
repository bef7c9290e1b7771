"""Random shooting: draw sequences uniformly, keep the best (Rao 2009, A survey of numerical
methods for optimal control, section on direct shooting; Nagabandi et al. 2018, arXiv:1708.02596).
"""

from dataclasses import dataclass
from typing import ClassVar

from dreamserve.planning.base import (
    Actions,
    Planner,
    Uniform,
    better,
    drawn,
    finite_or_lowest,
    resized,
    sequence_shape,
)
from dreamserve.planning.options import Options, within
from dreamserve.spaces import ActionSpace


@dataclass(frozen=True, slots=True)
class RandomShooting(Options):
    """One iteration, without a distribution to fit. The default number of candidates is the other
    planners' total of all iterations: enough for 99 % of the best value if a plan has two or three
    action components, but not if it has more.
    """

    iterations: ClassVar[int] = 1
    candidates: int = within(14_336, 1)  # N


def random_shooting(
    space: ActionSpace,
    horizon: int,
    options: RandomShooting,
    uniform: Uniform,
    warm: Actions | None = None,
) -> Planner:
    """Return a planner of `horizon` steps, in one iteration."""
    warm = resized(warm, horizon)
    first = None if warm is None else warm[None]
    shape = sequence_shape(space, options.candidates, horizon)
    actions = yield from drawn(space, uniform, 0, shape, lambda part, _: space.uniform(part), first)
    values = yield actions
    return better(None, actions, finite_or_lowest(values), iteration=0)
