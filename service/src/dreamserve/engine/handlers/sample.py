"""/sample: imagine many futures from one start; no session changes."""

from dreamserve import noise
from dreamserve.engine.checks import check_start
from dreamserve.engine.dynamics import Size, Work, start
from dreamserve.engine.handlers.base import Context, random_seed, seed_of, start_of, temperature_of
from dreamserve.engine.imagination.samples import sample as sampled
from dreamserve.engine.imagination.sizes import sample_size
from dreamserve.engine.imagination.trajectories import RolloutStart, subseeds
from dreamserve.engine.limits import Limits
from dreamserve.engine.shown import check_shown
from dreamserve.engine.world import World
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
        temperature = temperature_of(request.temperature)
        begin = check_start(world, request.start, context.limits)
        yield _checked_size(context.limits, world, request)
        latent, state = yield from start(world, begin, seed, temperature)
        origin = RolloutStart(world, latent, state, step=0, temperature=temperature)
    spec, horizon = origin.world.spec, request.horizon
    size = _checked_size(context.limits, origin.world, request)
    policy = actions = None
    if request.actions is not None:
        actions = spec.action_space.check(request.actions, (horizon,))
    else:
        policy = policy_of(request.policy or "random")
    yield size
    seeds = subseeds(seed, request.futures, noise.SAMPLE)
    return (
        yield from sampled(
            origin, actions, horizon, seeds, request.include, context.slice_rows, policy
        )
    )


def _checked_size(limits: Limits, world: World, request: SampleRequest) -> Size:
    """Return the size of the futures, with the additional ones included.

    Raises InvalidRequestError, TooLargeError.
    """
    check_shown(world, request.include)
    spec = world.spec
    count, horizon, include = request.futures, request.horizon, request.include
    extra = ("most_likely" in include) + spec.head.choices * ("components" in include)
    limits.check_dreamt_steps(futures=count + extra, horizon=horizon)
    limits.check_rows(count, "futures")
    what = f"{count} futures x horizon {horizon}"
    if "frames" in include:
        limits.check_frames((count + extra) * horizon, "futures x horizon")
    if "mixture" in include:
        limits.check_mixture_bytes(count * horizon * spec.mixture_bytes(), what)
    size = sample_size(spec, count, extra, horizon, include)
    limits.check_job_bytes(size.memory_bytes, what)
    return size
