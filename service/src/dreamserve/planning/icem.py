"""iCEM: the improved cross-entropy method (Pinneri et al. 2020, arXiv:2008.06389, algorithm 1).

The cross-entropy method with five additions, which reduce the number of candidates it needs:

- The noise is coloured along the horizon, so consecutive actions are correlated. Box: coloured
  Gaussians, clipped to the bounds. Choices, which the paper does not cover: coloured normals, one
  for each choice of each component, which select it (`Categorical.from_normals`). A single normal
  cut into n intervals would be cheaper, but would treat choices with adjacent numbers as similar.
- A share of the elites is kept among the next iteration's candidates. The paper keeps their values;
  here they are evaluated again, because each iteration has other noise and a value that is high by
  chance would never be replaced.
- The number of candidates decays with every iteration, down to twice the number of elites.
- The mean is a candidate, at the end and after its last update.
- The result is the best candidate, not the mean.

The paper carries the shifted mean and elites from one control step to the next; here the warm plan
does that. The deviation is reset at each control step, as in the paper.
"""

from dataclasses import dataclass

import numpy as np

from dreamserve.planning.base import (
    Actions,
    Array,
    Plan,
    Planner,
    Uniform,
    better,
    drawn,
    elite,
    finite_or_lowest,
    resized,
    taken,
)
from dreamserve.planning.coloured_noise import amplitudes, coloured
from dreamserve.planning.distributions import distribution_for, fitted, with_final_centre
from dreamserve.planning.gaussian import normals
from dreamserve.planning.options import Options, within
from dreamserve.spaces import ActionSpace


@dataclass(frozen=True, slots=True)
class Icem(Options):
    """The paper's options, except those that it tunes for each task, and `std`, `momentum` and
    `decay`: these are 0.5, 0.1 and 1.25 there, for a few iterations with a fast decay. Beta is 0.25
    to 4 there, larger for systems that react more slowly.
    """

    candidates: int = within(256, 1)  # N in the first iteration
    iterations: int = within(64, 1)
    elite_share: float = within(0.04, 0, 1)  # of the first iteration's candidates; at least two
    keep_share: float = within(0.3, 0, 1)  # share of the elites that are kept
    decay: float = within(1.01, 1, 100)  # divides the number of candidates at every iteration
    momentum: float = within(0.0, 0, 1)  # share of the old distribution in the new one
    noise_beta: float = within(0.25, 0, 5)
    std: float = within(1.0, 0.01, 10)  # of the first iteration's Gaussians


def icem(
    space: ActionSpace,
    horizon: int,
    options: Icem,
    uniform: Uniform,
    warm: Actions | None = None,
) -> Planner:
    """Return a planner of `horizon` steps."""
    warm = resized(warm, horizon)
    kept = None if warm is None else warm[None]
    distribution = distribution_for(space, horizon, warm, options.std)
    amplitude = amplitudes(horizon, options.noise_beta)
    elites = max(2, round(options.elite_share * options.candidates))
    best: Plan | None = None
    for iteration in range(options.iterations):
        count = candidates_at(iteration, options.candidates, elites, options.decay)

        def make(uniforms: Array, first: int, count: int = count) -> Actions:
            noise = coloured(normals(uniforms), amplitude)
            return distribution.from_normals(noise, first, count)

        shape = (count, horizon, distribution.normals)
        actions = yield from drawn(space, uniform, iteration, shape, make, kept)
        values = finite_or_lowest((yield actions))
        best = better(best, actions, values, iteration)
        chosen = elite(values, elites)
        even = np.ones(len(chosen))
        yield from fitted(distribution, actions, even, options.momentum, chosen)
        kept = yield from taken(actions, chosen[: round(options.keep_share * len(chosen))])
    assert best is not None  # there is at least one iteration
    return (yield from with_final_centre(best, distribution))


def candidates_at(iteration: int, candidates: int, elites: int, decay: float) -> int:
    """Return the number of candidates of an iteration; the first one has `candidates`."""
    return min(candidates, max(int(candidates * decay**-iteration), 2 * elites))
