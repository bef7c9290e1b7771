"""MPPI: model predictive path integral control (Williams et al. 2015, arXiv:1509.01149, and 2017,
Information theoretic MPC for model-based reinforcement learning, ICRA, algorithm 2), in a few
iterations and with a deviation that adapts, as in TD-MPC2 (Hansen et al. 2024, arXiv:2310.16828).

Draw candidates around a mean, weight each by exp(value / λ), make the weighted mean the next mean.
There are no elites: the smaller λ, the more the best candidates count. Box actions come from
Gaussians clipped to the bounds, as in both papers; other actions from a categorical for each step
and component, fitted by weighted, smoothed counts. The paper's control cost is left out (its
α = 1).

**λ.** The papers tune it to each task's costs. A world's values may have any scale, and move closer
together as the planner converges, so λ is `temperature` times the distance from an iteration's best
value to its median. A standard deviation instead would depend on how bad the worst candidates are:
one very low value would make all the others look equal.

**The result.** The paper acts on the mean after its last update, without evaluating it: between two
ways around an obstacle the mean may run into it. Here that mean is evaluated, too, and the result
is the best candidate of all, so its predicted return is at least that of the mean.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from dreamserve.planning.base import (
    Actions,
    Plan,
    Planner,
    Uniform,
    Values,
    better,
    drawn,
    finite_or_lowest,
    resized,
    sequence_shape,
)
from dreamserve.planning.distributions import distribution_for, fitted, with_final_centre
from dreamserve.planning.gaussian import LEAST_STD
from dreamserve.planning.options import Options, within
from dreamserve.spaces import ActionSpace


@dataclass(frozen=True, slots=True)
class Mppi(Options):
    """The defaults: more iterations of fewer candidates than TD-MPC2, as in `Cem`. TD-MPC2's `std`
    of 2 puts most candidates on the bounds, which costs an iteration; its `least_std` of 0.05 is
    too coarse for wide bounds. The papers' temperatures have another unit (see λ above).
    """

    candidates: int = within(256, 1)  # N in each iteration
    iterations: int = within(56, 1)
    temperature: float = within(0.12, 0.001, 1000)
    std: float = within(1.0, 0.01, 10)  # of the first iteration's Gaussians
    least_std: float = within(LEAST_STD, 0.0001, 10)  # both: in half the distance of the bounds


def mppi(
    space: ActionSpace,
    horizon: int,
    options: Mppi,
    uniform: Uniform,
    warm: Actions | None = None,
) -> Planner:
    """Return a planner of `horizon` steps."""
    warm = resized(warm, horizon)
    first = None if warm is None else warm[None]
    distribution = distribution_for(space, horizon, warm, options.std, options.least_std)
    shape = sequence_shape(space, options.candidates, horizon)
    best: Plan | None = None
    for iteration in range(options.iterations):
        make = partial(distribution.draw, count=options.candidates)
        actions = yield from drawn(space, uniform, iteration, shape, make, first)
        first = None
        values = finite_or_lowest((yield actions))
        best = better(best, actions, values, iteration)
        weights = weigh(values, options.temperature)
        yield from fitted(distribution, actions, weights, momentum=0)
    assert best is not None  # there is at least one iteration
    return (yield from with_final_centre(best, distribution))


def weigh(values: Values, temperature: float) -> Values:
    """Return weights (N,) for values (N,): 1 for the best value, 0 for -inf."""
    finite = np.isfinite(values)
    weights = np.zeros(len(values))
    if not finite.any():
        return weights
    best = values.max()
    below = best / 4 - values[finite] / 4  # quarters: the median's sum of two does not overflow
    median = np.median(below)
    if median == 0:  # at least half of them equal the best
        weights[values == best] = 1
    else:
        with np.errstate(over="ignore"):  # values too far below get the weight 0
            weights[finite] = np.exp(below / median / -temperature)
    return weights
