"""Samples: many futures from one start, with the additional results in `include`."""

from collections.abc import Sequence
from typing import Any

from dreamserve import noise
from dreamserve.backends.base import Actions
from dreamserve.engine.dynamics import Work
from dreamserve.engine.imagination.buffer import TrajectoryBuffer
from dreamserve.engine.imagination.deterministic import components, most_likely
from dreamserve.engine.imagination.policy_runners import runner_of
from dreamserve.engine.imagination.trajectories import RolloutStart, Trajectories
from dreamserve.noise import UInt64
from dreamserve_protocol.policies import AnyPolicy
from dreamserve_protocol.sample import SampleResult


def sample(
    start: RolloutStart,
    actions: Actions | None,
    horizon: int,
    seeds: UInt64,
    include: Sequence[str],
    slice_rows: int,
    policy: AnyPolicy | None = None,
) -> Work[SampleResult]:
    """Return the futures (N, H) of seeds (N,) under actions (H, …), or under a policy.

    Deterministic futures take the first future's actions. Raises DreamNotFiniteError.
    """
    count = len(seeds)
    buffer = TrajectoryBuffer(start.world, count, horizon, include)
    taken = start.world.spec.action_space.zeros(horizon) if actions is None else actions
    for first in range(0, count, slice_rows):
        rows = slice(first, first + slice_rows)
        futures = Trajectories.of(start, len(seeds[rows]), seeds[rows], noise.SAMPLE)
        runner = None if policy is None else runner_of(start.world, policy, len(futures))
        yield from buffer.follow(futures, first, taken, runner=runner)
    decoded = [part for part in include if part in ("frames", "vectors")]
    likely = by_component = None
    if "most_likely" in include:
        likely = yield from most_likely(start, taken, decoded)
    if "components" in include:
        by_component = yield from components(start, taken, decoded)
    shown: Any = buffer.shown()
    return SampleResult(
        buffer.latents,
        buffer.rewards,
        buffer.terminated,
        mixture=buffer.mixture,
        entropy=buffer.entropy,
        differential_entropy=buffer.differential_entropy,
        most_likely=likely,
        components=by_component,
        signals=buffer.signals,
        **shown,
    )
