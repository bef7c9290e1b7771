"""/sample: imagine many futures from one start; no session changes."""

from collections.abc import Sequence

from dreamserve import noise
from dreamserve.engine.checks import check_start
from dreamserve.engine.dynamics import Work, start
from dreamserve.engine.handlers.base import Context, random_seed, seed_of, start_of
from dreamserve.engine.imagination.samples import sample as sampled
from dreamserve.engine.imagination.trajectories import RolloutStart, subseeds
from dreamserve.engine.limits import Limits
from dreamserve.manifest import WorldSpec
from dreamserve_protocol.policies import policy_of
from dreamserve_protocol.sample import SampleRequest, SampleResult


def sample(context: Context, request: SampleRequest) -> Work[SampleResult]:
    """Imagine the futures. Raises CallerError, DreamNotFiniteError."""
    if request.session_id is not None:
        session = context.find_alive(request.session_id)
        origin = start_of(session, request.temperature)
        seed = seed_of(session, request.seed, noise.SAMPLE)
    else:
        world = context.world(request.world)
        seed = random_seed() if request.seed is None else request.seed
        temperature = 1.0 if request.temperature is None else request.temperature
        begin = check_start(world, request.start, context.limits)
        latent, state = yield from start(world, begin, seed, temperature)
        origin = RolloutStart(world, latent, state, step=0, temperature=temperature)
    spec, count, horizon = origin.world.spec, request.futures, request.horizon
    _check_size(context.limits, spec, count, horizon, request.include)
    policy = None
    if request.actions is not None:
        sequence = spec.action_space.check(request.actions, (horizon,))
        actions = sequence[None].repeat(count, axis=0)
    else:
        policy = policy_of(request.policy or "random")
        actions = spec.action_space.zeros(count, horizon)
    yield None
    seeds = subseeds(seed, count, noise.SAMPLE)
    return (yield from sampled(origin, actions, seeds, request.include, context.slice_rows, policy))


def _check_size(
    limits: Limits, spec: WorldSpec, count: int, horizon: int, include: Sequence[str]
) -> None:
    """Raise TooLargeError if the futures, with the additional ones of `include`, exceed a limit."""
    extra = ("most_likely" in include) + spec.mixture.components * ("components" in include)
    limits.check_dreamt_steps(futures=count + extra, horizon=horizon)
    if "frames" in include:
        limits.check_frames((count + extra) * horizon, "futures x horizon")
    if "mixture" in include:
        size_bytes = count * horizon * spec.mixture_bytes()
        limits.check_mixture_bytes(size_bytes, f"{count} futures x horizon {horizon}")
