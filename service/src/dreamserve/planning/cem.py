"""The cross-entropy method (Rubinstein 1999; de Boer et al. 2005, A tutorial on the cross-entropy
method; for planning: Chua et al. 2018, arXiv:1805.12114).

Draw candidates from a distribution, keep the elites, fit the distribution to them, repeat. Box
actions come from Gaussians clipped to the bounds, one for each step and component; other actions
from a categorical for each step and component, fitted by smoothed counts. The centre of the last
distribution is evaluated, too, and the result is the best candidate of all.

Chua et al. truncate their Gaussians at the bounds instead. Clipped ones come several times closer
to an optimum that lies on a bound, and as close to one that lies inside.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from dreamserve.planning.base import (
    Actions,
    Plan,
    Planner,
    Uniform,
    better,
    drawn,
    elite,
    finite_or_lowest,
    resized,
    sequence_shape,
)
from dreamserve.planning.distributions import distribution_for, fitted, with_final_centre
from dreamserve.planning.options import Options, within
from dreamserve.spaces import ActionSpace


@dataclass(frozen=True, slots=True)
class Cem(Options):
    """The defaults: more iterations of fewer candidates than in the papers, as the remaining error
    falls with every iteration. Enough for 99 % of the best return of a linear-quadratic problem
    with 120 action components.
    """

    candidates: int = within(256, 1)  # N in each iteration
    iterations: int = within(56, 1)
    elite_share: float = within(0.04, 0, 1)  # of the candidates; at least two are elites
    momentum: float = within(0.0, 0, 1)  # share of the old distribution in the new one
    std: float = within(1.0, 0.01, 10)  # of the first iteration's Gaussians


def cem(
    space: ActionSpace,
    horizon: int,
    options: Cem,
    uniform: Uniform,
    warm: Actions | None = None,
) -> Planner:
    """Return a planner of `horizon` steps."""
    warm = resized(warm, horizon)
    first = None if warm is None else warm[None]
    distribution = distribution_for(space, horizon, warm, options.std)
    shape = sequence_shape(space, options.candidates, horizon)
    elites = max(2, round(options.elite_share * options.candidates))
    best: Plan | None = None
    for iteration in range(options.iterations):
        make = partial(distribution.draw, count=options.candidates)
        actions = yield from drawn(space, uniform, iteration, shape, make, first)
        first = None
        values = finite_or_lowest((yield actions))
        best = better(best, actions, values, iteration)
        chosen = elite(values, elites)
        even = np.ones(len(chosen))
        yield from fitted(distribution, actions, even, options.momentum, chosen)
    assert best is not None  # there is at least one iteration
    return (yield from with_final_centre(best, distribution))
