"""Samples: many futures from one present, all answered, and what may be said beside them."""

from dreamserve import noise
from dreamserve.backends.base import Actions
from dreamserve.engine.imagination.buffer import TrajectoryBuffer
from dreamserve.engine.imagination.deterministic import components, most_likely
from dreamserve.engine.imagination.policy_runners import runner_of
from dreamserve.engine.imagination.trajectories import RolloutStart, Trajectories
from dreamserve.engine.mixture import mixture_bytes
from dreamserve.engine.types import Include, Policy, SampleBounds, SampleResult
from dreamserve.engine.work import Work
from dreamserve.errors import TooLargeError
from dreamserve.manifest import WorldSpec
from dreamserve.noise import UInt64

INCLUDES = frozenset({"frame", "mixture", "entropy", "most_likely", "components"})


def sample(
    present: RolloutStart,
    actions: Actions,
    seeds: UInt64,
    include: Include,
    slice_rows: int,
    policy: Policy | None = None,
) -> Work[SampleResult]:
    """Return the futures under actions (N, H, …), or under a policy, which writes them there.

    The futures without luck take the actions of the first. Raises DreamNotFiniteError.
    """
    count, horizon = actions.shape[:2]
    buffer = TrajectoryBuffer(present.world, count, horizon, include)
    for first in range(0, count, slice_rows):
        rows = slice(first, first + slice_rows)
        futures = Trajectories.of(present, len(seeds[rows]), seeds[rows], noise.SAMPLE)
        runner = None if policy is None else runner_of(present.world, policy, len(futures))
        yield from buffer.follow(futures, first, actions[rows], runner=runner)
    pictured = include & {"frame"}
    likely = parts = None
    if "most_likely" in include:
        likely = yield from most_likely(present, actions[0], pictured)
    if "components" in include:
        parts = yield from components(present, actions[0], pictured)
    return SampleResult(
        buffer.latents,
        buffer.rewards,
        buffer.terminated,
        buffer.frames,
        buffer.mixture,
        buffer.entropy,
        buffer.differential_entropy,
        likely,
        parts,
    )


def check_size(
    spec: WorldSpec, count: int, horizon: int, include: Include, bounds: SampleBounds
) -> None:
    """Raise TooLargeError, with the numbers, for a sample of more than the bounds allow."""
    more = ("most_likely" in include) + spec.mixture.components * ("components" in include)
    futures = f"{count} futures" + (f" and {more} that it includes" if more else "")
    steps = (count + more) * horizon
    whole = f"{futures} x horizon {horizon}"
    if steps > bounds.dreamt_steps:
        raise TooLargeError(f"{whole} is {steps} dreamt steps, the bound is {bounds.dreamt_steps}")
    if "frame" in include and steps > bounds.frames:
        raise TooLargeError(f"{whole}: {steps} frames, the bound is {bounds.frames}")
    if "mixture" in include:
        each = mixture_bytes(spec)
        size_bytes = count * horizon * each
        if size_bytes > bounds.mixture_bytes:
            raise TooLargeError(
                f"{count} futures x horizon {horizon} x {each} bytes of a step's mixture are"
                f" {size_bytes} bytes, the bound is {bounds.mixture_bytes}"
            )
