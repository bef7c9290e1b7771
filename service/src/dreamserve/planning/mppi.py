"""MPPI: model predictive path integral control (Williams et al. 2015, arXiv:1509.01149, and 2017,
Information theoretic MPC for model-based reinforcement learning, ICRA, algorithm 2), in a few
iterations and with a deviation that adapts, as in TD-MPC2 (Hansen et al. 2024, arXiv:2310.16828).

Draw candidates around a mean, weigh each by exp(value / λ), make the weighted mean the next mean.
Nothing is cut off, as elites are: λ says how much better is how much more. Box actions come from
Gaussians clipped to the bounds, as both papers do; Discrete actions from a categorical for each
step, fitted by weighted, smoothed counts. The paper's control cost is left out (its α = 1).

**λ.** The papers choose it for a task whose costs they know. A world's values may be of any size,
and get closer to each other as the planner closes in, so λ is `temperature` times the distance
from the best value to the median of an iteration. Unlike a deviation that does not care how bad
the bad half is: one cliff in the world would make all the rest look equal.

**The result.** The paper acts on the mean after its last update, which was never evaluated: of two
ways around an obstacle it may be the one in between. Here that mean is evaluated, too, and the
result is the best candidate of all: its predicted return is never below that of the mean.
"""

from dataclasses import dataclass

import numpy as np

from dreamserve.planning.base import (
    Actions,
    Plan,
    Planner,
    Uniform,
    Values,
    better,
    finite_or_lowest,
    fitted,
    put_first,
    sequence_shape,
)
from dreamserve.planning.distributions import family_of, with_final_mean
from dreamserve.planning.gaussian import LEAST_STD
from dreamserve.planning.options import Options, within
from dreamserve.spaces import ActionSpace


@dataclass(frozen=True, slots=True)
class Mppi(Options):
    """More iterations of fewer candidates than TD-MPC2's, as in CEM here. `std` is 2 there: most
    draws then lie on the bounds, and one iteration goes to leaving them; `least_std` is 0.05, which
    is too much where bounds are wide. The temperature's unit is our own.
    """

    candidates: int = within(256, 1)  # N in each iteration
    iterations: int = within(56, 1)
    temperature: float = within(0.12, 0.001, 1000)
    std: float = within(1.0, 0.01, 10)  # of the first iteration's Gaussians
    least_std: float = within(LEAST_STD, 0.0001, 10)  # both in halves of the bounds' distance


def mppi(
    space: ActionSpace,
    horizon: int,
    options: Mppi,
    uniform: Uniform,
    warm: Actions | None = None,
) -> Planner:
    """Plan `horizon` steps."""
    warm = fitted(warm, horizon)
    first = [] if warm is None else [warm]
    family = family_of(space, horizon, warm, options.std, options.least_std)
    shape = sequence_shape(space, options.candidates, horizon)
    best: Plan | None = None
    for iteration in range(options.iterations):
        actions = family.draw(uniform(iteration, shape))
        put_first(actions, first if iteration == 0 else [])
        values = finite_or_lowest((yield actions))
        best = better(best, actions, values, iteration)
        family.fit(actions, weigh(values, options.temperature), momentum=0)
    assert best is not None  # there is at least one iteration
    return (yield from with_final_mean(best, family))


def weigh(values: Values, temperature: float) -> Values:
    """Return weights (N,): 1 for the best value, 0 for -inf, and 0 for all if all are -inf."""
    finite = np.isfinite(values)
    weights = np.zeros(len(values))
    if not finite.any():
        return weights
    best = values.max()
    below = best / 4 - values[finite] / 4  # quarters: two such distances still add up to a float
    middle = np.median(below)
    if middle == 0:  # half of them or more are the best
        weights[values == best] = 1
    else:
        with np.errstate(over="ignore"):  # what lies too far below has no weight
            weights[finite] = np.exp(below / middle / -temperature)
    return weights
