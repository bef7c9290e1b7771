"""The sizes of plans, samples and rollouts, known before they begin.

The bytes are an upper bound of the arrays that grow with the request. What grows with one slice of
work, or with one world's step, is not counted: it is the same for all.
"""

from collections.abc import Sequence
from typing import Any

from dreamserve.engine.dynamics import Size
from dreamserve.manifest import WorldSpec
from dreamserve.observations import bytes_of
from dreamserve.planning.options import Options
from dreamserve_protocol.plan import PlanRequest

_COPIES = 3  # of a planner's candidates: this iteration's, the kept ones, and those being drawn
_FITS = 6  # float64 arrays of a distribution and of its fit, (H, numbers) each
_FIGURES = 12  # float64 numbers of a candidate, a future or an episode, while they are compared


def plan_size(spec: WorldSpec, request: PlanRequest, options: Options) -> Size:
    """Return the size of a plan."""
    asked: Any = options
    space, horizon, total = spec.action_space, request.horizon, asked.candidates * asked.iterations
    candidates = asked.candidates
    if space.sequences(horizon) <= total:
        candidates = 1 + int(space.sequences(horizon))  # exhaustive search
    action_bytes = space.zeros(1).nbytes
    fitted = sum(space.choice_counts) or space.width  # numbers of a distribution for each step
    numbers = _FITS * horizon * fitted + _FIGURES * candidates * request.particles
    return Size(
        steps=total * request.particles * request.steps,
        memory_bytes=_COPIES * candidates * horizon * action_bytes + 8 * numbers,
    )


def sample_size(
    spec: WorldSpec, futures: int, extra: int, horizon: int, include: Sequence[str]
) -> Size:
    """Return the size of a sample of N futures and `extra` deterministic ones, of H steps."""
    decoded = f"{spec.observation.field}s" in include
    shown = 4 * spec.latent_size + 4 + 1 + bytes_of(spec.observation) * decoded
    described = spec.mixture_bytes() * ("mixture" in include) + 8 * ("entropy" in include)
    described += 4 * len(spec.signals) * ("signals" in include)
    steps = (futures + extra) * horizon
    return Size(steps, steps * shown + futures * (horizon * described + 8 * _FIGURES))


def rollout_size(
    spec: WorldSpec, policies: int, episodes: int, max_steps: int, trajectories: bool
) -> Size:
    """Return the size of a rollout of E episodes of each of P policies."""
    count, action_bytes = policies * episodes, spec.action_space.zeros(1).nbytes
    figures = 8 * _FIGURES * count + episodes * spec.state_bytes()
    shown = count * (max_steps + 1) * (4 * spec.latent_size + 4 + action_bytes)
    # A result that is shorter than `max_steps` is a copy.
    return Size(count * max_steps, figures + 2 * shown * trajectories)
