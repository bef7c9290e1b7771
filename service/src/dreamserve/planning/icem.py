"""iCEM: the improved cross-entropy method (Pinneri et al. 2020, arXiv:2008.06389, algorithm 1).

The cross-entropy method with five additions, all for fewer candidates:

- noise coloured along the horizon, so that candidates lead somewhere instead of trembling. Box:
  coloured Gaussians, clipped to the bounds. Discrete, of which the paper does not speak: coloured
  scores, one for each action, which win in turn (`Categorical.at`). A single score cut into n
  intervals would be cheaper, but would make neighbours of actions that only have numbers;
- elites stay: a share of them stands among the next iteration's candidates. The paper keeps their
  values; here they are dreamt again, since each iteration meets other luck and a lucky value
  would stay for ever;
- candidates get fewer by a factor with every iteration, but never fewer than twice the elites;
- the mean is a candidate, at the end and after its last update;
- the best candidate is the answer, not the mean.

What the paper carries from one control step to the next, the shifted mean and elites, is the warm
plan here; the deviation begins anew, as it does there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dreamserve.planning.base import (
    Actions,
    Plan,
    Planner,
    Uniform,
    better,
    elite,
    finite_or_lowest,
    fitted,
    put_first,
)
from dreamserve.planning.coloured_noise import colouring
from dreamserve.planning.distributions import family_of, with_final_mean
from dreamserve.planning.gaussian import normals
from dreamserve.planning.options import Options, within
from dreamserve.spaces import ActionSpace


@dataclass(frozen=True, slots=True)
class Icem(Options):
    """The paper's, but for what it tunes to each task, and for `std`, `momentum` and `decay`: 0.5,
    0.1 and 1.25 there, for a handful of iterations, in which candidates soon get few. Beta is 0.25
    to 4 there, the greater the slower the body.
    """

    candidates: int = within(256, 1)  # N in the first iteration
    iterations: int = within(64, 1)
    elite_share: float = within(0.04, 0, 1)  # of the first iteration's candidates; two at least
    keep_share: float = within(0.3, 0, 1)  # of the elites that stay among the candidates
    decay: float = within(1.01, 1, 100)  # by which candidates get fewer with every iteration
    momentum: float = within(0.0, 0, 1)  # the share of the old distribution that stays
    noise_beta: float = within(0.25, 0, 5)
    std: float = within(1.0, 0.01, 10)  # of the first iteration's Gaussians


def icem(
    space: ActionSpace,
    horizon: int,
    options: Icem,
    uniform: Uniform,
    warm: Actions | None = None,
) -> Planner:
    """Plan `horizon` steps."""
    warm = fitted(warm, horizon)
    kept: Iterable[Actions] = [] if warm is None else [warm]
    family = family_of(space, horizon, warm, options.std)
    scores = space.width  # of one action
    colour = colouring(horizon, options.noise_beta)
    elites = max(2, round(options.elite_share * options.candidates))
    best: Plan | None = None
    for iteration in range(options.iterations):
        count = candidates_at(iteration, options.candidates, elites, options.decay)
        white = normals(uniform(iteration, (count, horizon, scores)))
        actions = family.at(colour @ white)
        put_first(actions, kept)
        values = finite_or_lowest((yield actions))
        best = better(best, actions, values, iteration)
        chosen = elite(values, elites)
        family.fit(actions[chosen], np.ones(len(chosen)), options.momentum)
        kept = actions[chosen[: round(options.keep_share * len(chosen))]]
    assert best is not None  # there is at least one iteration
    return (yield from with_final_mean(best, family))


def candidates_at(iteration: int, candidates: int, elites: int, decay: float) -> int:
    """Return how many candidates an iteration has, of `candidates` in the first one."""
    return min(candidates, max(int(candidates * decay**-iteration), 2 * elites))
