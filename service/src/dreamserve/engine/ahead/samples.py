"""Samples: many futures from one present, all answered, and what may be said beside them."""

from dreamserve import noise
from dreamserve.backends.base import Actions
from dreamserve.engine.ahead.actors import actor_of
from dreamserve.engine.ahead.futures import Futures, Present
from dreamserve.engine.ahead.likely import components, most_likely
from dreamserve.engine.ahead.transcript import Transcript
from dreamserve.engine.mixture import mixture_bytes
from dreamserve.engine.types import Include, Policy, SampleBounds, SampleResult
from dreamserve.engine.work import Work
from dreamserve.errors import TooLargeError
from dreamserve.manifest import WorldSpec
from dreamserve.noise import UInt64

INCLUDES = frozenset({"frame", "mixture", "entropy", "most_likely", "components"})


def sample(
    present: Present,
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
    transcript = Transcript(present.world, count, horizon, include)
    for first in range(0, count, slice_rows):
        rows = slice(first, first + slice_rows)
        futures = Futures.of(present, len(seeds[rows]), seeds[rows], noise.SAMPLE)
        actor = None if policy is None else actor_of(present.world, policy, len(futures))
        yield from transcript.follow(futures, first, actions[rows], actor=actor)
    pictured = include & {"frame"}
    likely = parts = None
    if "most_likely" in include:
        likely = yield from most_likely(present, actions[0], pictured)
    if "components" in include:
        parts = yield from components(present, actions[0], pictured)
    return SampleResult(
        transcript.latents,
        transcript.rewards,
        transcript.terminated,
        transcript.frames,
        transcript.mixture,
        transcript.entropy,
        transcript.differential_entropy,
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
