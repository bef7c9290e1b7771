"""/rollout: imagine episodes of one policy or many; no session changes."""

import numpy as np

from dreamserve import noise
from dreamserve.engine.checks import check_start
from dreamserve.engine.dynamics import Size, Work
from dreamserve.engine.handlers.base import Context, random_seed, seed_of, start_of, temperature_of
from dreamserve.engine.imagination.rollouts import EpisodeStarts, roll_out
from dreamserve.engine.imagination.sizes import rollout_size
from dreamserve.engine.imagination.trajectories import subseeds
from dreamserve.engine.limits import Limits
from dreamserve.engine.sessions.restarts import SEED_BITS
from dreamserve.manifest import WorldSpec
from dreamserve.noise import UInt64
from dreamserve_protocol.policies import policy_count, policy_of
from dreamserve_protocol.rollout import RolloutRequest, RolloutResult

_EXCESS_BITS = np.uint64(64 - SEED_BITS)


def rollout(context: Context, request: RolloutRequest) -> Work[RolloutResult]:
    """Imagine the episodes. Raises CallerError, DreamNotFiniteError."""
    limits, policy = context.limits, policy_of(request.policy)
    if request.session_id is not None:
        session = context.find_alive(request.session_id)
        size = _checked_size(limits, session.world.spec, request)
        seeds = _episode_seeds(request, seed_of(session, request.seed, noise.ROLLOUT))
        starts = EpisodeStarts.at(start_of(session, request.temperature), seeds)
        yield size
    else:
        world = context.world(request.world)
        size = _checked_size(limits, world.spec, request)
        seeds = _episode_seeds(request, random_seed() if request.seed is None else request.seed)
        temperature = temperature_of(request.temperature)
        begin = check_start(world, request.start, limits)
        yield size
        starts = yield from EpisodeStarts.of(world, begin, seeds, temperature, context.slice_rows)
    trajectories = "trajectories" in request.include
    return (
        yield from roll_out(starts, policy, request.max_steps, trajectories, context.slice_rows)
    )


def _checked_size(limits: Limits, spec: WorldSpec, request: RolloutRequest) -> Size:
    """Return the size of the rollout. Raises TooLargeError."""
    policies, episodes = policy_count(policy_of(request.policy)), request.episode_count
    limits.check_rows(episodes, "episodes of a policy")
    limits.check_dreamt_steps(policies=policies, episodes=episodes, max_steps=request.max_steps)
    if request.start is not None and request.start.frames is not None:
        limits.check_dreamt_steps(episodes=episodes, frames=len(request.start.frames))
    trajectories = "trajectories" in request.include
    size = rollout_size(spec, policies, episodes, request.max_steps, trajectories)
    limits.check_job_bytes(size.memory_bytes, "policies x episodes x max_steps")
    return size


def _episode_seeds(request: RolloutRequest, seed: int) -> UInt64:
    """Return the episodes' seeds (E,), valid for a reset, too: the request's, or from `seed`."""
    if request.seeds is not None:
        return np.asarray(request.seeds).astype(np.uint64)
    return subseeds(seed, request.episode_count, noise.ROLLOUT) >> _EXCESS_BITS
