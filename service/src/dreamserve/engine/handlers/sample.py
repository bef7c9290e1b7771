"""/sample: dream many futures from one place; no session moves."""

from collections.abc import Sequence

from dreamserve import noise
from dreamserve.engine.checks import check_start
from dreamserve.engine.dynamics import Work, start
from dreamserve.engine.handlers.base import Context, drawn_seed, seed_of, start_of
from dreamserve.engine.imagination.samples import sample as sampled
from dreamserve.engine.imagination.trajectories import RolloutStart, subseeds
from dreamserve.engine.limits import Limits
from dreamserve.manifest import WorldSpec
from dreamserve_protocol.policies import policy_of
from dreamserve_protocol.sample import SampleRequest, SampleResult


def sample(context: Context, request: SampleRequest) -> Work[SampleResult]:
    """Dream the futures. Raises CallerError, DreamNotFiniteError."""
    if request.session_id is not None:
        session = context.living(request.session_id)
        present = start_of(session, request.temperature)
        seed = seed_of(session, request.seed, noise.SAMPLE)
    else:
        world = context.world(request.world)
        seed = drawn_seed() if request.seed is None else request.seed
        temperature = 1.0 if request.temperature is None else request.temperature
        begin = check_start(world, request.start, context.limits)
        started = yield from start(world, begin, seed, temperature)
        present = RolloutStart(world, *started, step=0, temperature=temperature)
    spec, count, horizon = present.world.spec, request.futures, request.horizon
    _check_size(context.limits, spec, count, horizon, request.include)
    policy = None
    if request.actions is not None:
        given = spec.action_space.check(request.actions, (horizon,))
        actions = given[None].repeat(count, axis=0)
    else:
        policy = policy_of(request.policy or "random")
        actions = spec.action_space.zeros(count, horizon)
    yield None
    seeds = subseeds(seed, count, noise.SAMPLE)
    return (
        yield from sampled(present, actions, seeds, request.include, context.slice_rows, policy)
    )


def _check_size(
    limits: Limits, spec: WorldSpec, count: int, horizon: int, include: Sequence[str]
) -> None:
    """Raise TooLargeError for more than the limits allow, what it includes counted in."""
    more = ("most_likely" in include) + spec.mixture.components * ("components" in include)
    limits.check_dreamt_steps(futures=count + more, horizon=horizon)
    if "frames" in include:
        limits.check_frames((count + more) * horizon, "futures x horizon")
    if "mixture" in include:
        size_bytes = count * horizon * spec.mixture_bytes()
        limits.check_mixture_bytes(size_bytes, f"{count} futures x horizon {horizon}")
